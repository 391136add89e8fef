"""The machine on which a benchmark runs: its hardware, its load, and the versions of programs."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.parts import Checkout
from bench.report import NOW
from tests.namespaces import CHECKOUT

HERE: Final = f"{CHECKOUT}/"
VERSIONS: Final = {
    "systemd": ("systemctl", "--version"),
    "Docker": ("dockerd", "--version"),
    "dbus-daemon": ("dbus-daemon", "--version"),
    "Avahi": ("avahi-daemon", "--version"),
}


def described() -> Iterator[str]:
    """Yield a line for the hardware, and one for the versions of programs."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in processors if line.startswith("model name")]
    yield f"- {len(models)} × {models[0]}"
    programs = [f"{name} {version(*command)}" for name, command in VERSIONS.items()]
    python = Checkout(NOW, CHECKOUT).python
    programs.insert(0, f"Python {version(python, '--version')} ({python.replace(HERE, '')})")
    yield f"- Linux {platform.release()}, {', '.join(programs)}"


def moment(before: Path | None) -> str:
    """Return the commits that are measured, the load, and the time."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    other = f", before {revision(before)}" if before else ""
    return f"commit {revision(CHECKOUT)}{other}; load {load} at {datetime.now(UTC):%F %R} UTC"


def version(program: str, option: str) -> str:
    """Return the version that a program prints; "not installed" without it."""
    if not shutil.which(program):
        return "not installed"
    done = subprocess.run([program, option], capture_output=True, text=True, check=False)
    words = done.stdout.split("\n")[0].replace(",", "").split()
    return next((word for word in words if word[0].isdigit()), "?")


def revision(checkout: Path) -> str:
    """Return the abbreviated commit of a checkout; "?" outside of git."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "?"
