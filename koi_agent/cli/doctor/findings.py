"""What checks are given, and what they find."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from koi_agent.bus.client import BUS, BUS_PATH, Link

DRIVER = (BUS, BUS_PATH, BUS)

REINSTALLING = {
    "debian": "apt install --reinstall koi-runtime",
    "fedora": "dnf reinstall koi-runtime",
    "arch": "pacman -S koi-runtime",
}


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

    link: Link
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
    def is_debian(self) -> bool:
        return "debian" in _distributions()

    @property
    def reinstall(self) -> str:
        """What to type where a part of the installation is missing."""
        if self.scope == "user":
            return "koi-runtime install-units --user"
        known = [REINSTALLING[name] for name in _distributions() if name in REINSTALLING]
        return known[0] if known else "make install"

    @property
    def journal(self) -> str:
        return f"journalctl{' --user' if self.scope == 'user' else ''} -u koi-runtime"


def _distributions() -> list[str]:
    """Name this distribution, and those that it is like (os-release(5))."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return []
    return [release["ID"], *release.get("ID_LIKE", "").split()]


def fine(text: str) -> Finding:
    return Finding(verdict=Verdict.OK, text=text)


def doubtful(text: str, advice: str = "") -> Finding:
    return Finding(verdict=Verdict.WARNING, text=text, advice=advice)


def wrong(text: str, advice: str = "") -> Finding:
    return Finding(verdict=Verdict.FAILURE, text=text, advice=advice)
