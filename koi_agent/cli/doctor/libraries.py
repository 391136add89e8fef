"""Checks of Python and of the required libraries."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from koi_agent import __version__
from koi_agent.cli.doctor.findings import Case, Finding, failure, ok

REQUIRED: Final[Mapping[str, str]] = {
    "dbus-next": "python3-dbus-next",
    "dnspython": "python3-dnspython",
    "sdnotify": "python3-sdnotify",
    "systemd-python": "python3-systemd",
    "aiohttp": "python3-aiohttp",
    "aiodocker": "",
}
"""Libraries, each with its Debian package; aiodocker is part of koi-runtime's own package."""


async def versions(case: Case) -> Sequence[Finding]:
    """Return the versions of Python and the required libraries, and what is missing."""
    return findings(case, REQUIRED)


def findings(case: Case, required: Mapping[str, str]) -> Sequence[Finding]:
    """Return the versions of libraries, and a failure for each that is not installed."""
    texts = [f"koi-runtime {__version__}", f"Python {platform.python_version()}"]
    missing: list[Finding] = []
    for name, package in required.items():
        try:
            texts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(failure(f"{name} is not installed", _advice(case, name, package)))
    return [ok(", ".join(texts)), *missing]


def _advice(case: Case, name: str, package: str) -> str:
    environment = case.host.environment
    if environment and (environment / "pipx_metadata.json").exists():
        return "pipx reinstall koi-agent"
    if environment:
        return f"{environment}/bin/python -m pip install {name}"
    if package and "debian" in case.host.distributions:
        return f"apt install {package}"
    return case.reinstall
