"""What checks are given, and what they find."""

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from koi_agent.bus.client import BUS, BUS_PATH, Connection

DRIVER = (BUS, BUS_PATH, BUS)

INSTALLING = {
    "debian": "apt install --reinstall ./koi-runtime_*.deb",
    "fedora": "dnf reinstall ./koi-runtime-*.rpm || dnf install ./koi-runtime-*.rpm",
    "arch": "pacman -U ./koi-runtime-*.pkg.tar*",
}
"""How a distribution installs the package anew, from the file: no archive has it."""


class Verdict(StrEnum):
    """How a finding is meant; only a failure makes the command fail."""

    OK = "ok"
    WARNING = "warn"
    FAILURE = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence of the doctor's; ``advice`` is what to type or to do, "" for nothing."""

    verdict: Verdict
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """A bus that answers: who owns our name there ("" is nobody), and which other names are."""

    link: Connection
    owner: str
    names: frozenset[str]
    activatable: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is examined; there is no ``bus`` if it does not answer."""

    scope: str
    environment: Mapping[str, str]
    bus: Bus | None = None

    @property
    def served(self) -> bool:
        return self.bus is not None and self.bus.owner != ""

    @property
    def systemctl(self) -> str:
        return "systemctl --user" if self.scope == "user" else "systemctl"

    @property
    def reinstall(self) -> str:
        """What to type where a part of the installation is missing."""
        if self.scope == "user" and is_virtual():
            return "koi-runtime install-units --user"
        return of_distribution(INSTALLING, "make install")

    @property
    def journal(self) -> str:
        return f"journalctl{' --user' if self.scope == 'user' else ''} -u koi-runtime"


def is_virtual() -> bool:
    """Tell whether this command is in a virtual environment, as pipx makes them."""
    return sys.prefix != sys.base_prefix


def distributions() -> list[str]:
    """Name this distribution, and those that it is like (os-release(5))."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return []
    return [release["ID"], *release.get("ID_LIKE", "").split()]


def of_distribution(commands: Mapping[str, str], otherwise: str) -> str:
    """Choose what to type here of what is typed on each distribution."""
    return next((commands[name] for name in distributions() if name in commands), otherwise)


def fine(text: str) -> Finding:
    return Finding(verdict=Verdict.OK, text=text)


def doubtful(text: str, advice: str = "") -> Finding:
    return Finding(verdict=Verdict.WARNING, text=text, advice=advice)


def wrong(text: str, advice: str = "") -> Finding:
    return Finding(verdict=Verdict.FAILURE, text=text, advice=advice)
