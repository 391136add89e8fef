"""Checks of the Python that runs this command, and of the libraries that it finds."""

import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from koi_agent import __version__
from koi_agent.cli.doctor.findings import Case, Finding, distributions, fine, is_virtual, wrong

NEEDED: Final[Mapping[str, str]] = {
    "dbus-next": "python3-dbus-next",
    "sdnotify": "python3-sdnotify",
    "systemd-python": "python3-systemd",
    "aiohttp": "python3-aiohttp",
    "aiodocker": "",
}
"""Distributions, each with its package in Debian; aiodocker comes with our own."""


async def versions(case: Case) -> Sequence[Finding]:
    """See which versions are here, and that none is missing."""
    said = [f"koi-runtime {__version__}", f"Python {platform.python_version()}"]
    found: list[Finding] = []
    for name, package in NEEDED.items():
        try:
            said.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(wrong(f"{name} is not installed", _advice(case, name, package)))
    return [fine(", ".join(said)), *found]


def _advice(case: Case, name: str, package: str) -> str:
    if Path(sys.prefix, "pipx_metadata.json").exists():
        return "pipx reinstall koi-agent"
    if is_virtual():
        return f"{sys.executable} -m pip install {name}"
    return f"apt install {package}" if package and "debian" in distributions() else case.reinstall
