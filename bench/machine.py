"""The machine on which a benchmark runs: its hardware, its load, and the versions of programs."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.namespaces import CHECKOUT

VERSIONS: Final = {
    "systemd": ("systemctl", "--version"),
    "Docker": ("dockerd", "--version"),
    "dbus-daemon": ("dbus-daemon", "--version"),
    "Avahi": ("avahi-daemon", "--version"),
}


def described() -> Iterator[str]:
    """Yield a line for each property of the machine."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in processors if line.startswith("model name")]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    yield f"- {len(models)} × {models[0]}; load {load} at {datetime.now(UTC):%F %R} UTC"
    programs = [f"{name} {version(*command)}" for name, command in VERSIONS.items()]
    yield f"- Linux {platform.release()}, Python {platform.python_version()}, {', '.join(programs)}"
    yield f"- commit {revision(CHECKOUT)}"


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
