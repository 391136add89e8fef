"""What checks are given, and what they find."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from koi_agent.bus.client import Link


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
    def journal(self) -> str:
        return f"journalctl{' --user' if self.scope == 'user' else ''} -u koi-runtime"


def fine(text: str) -> Finding:
    return Finding(verdict=Verdict.OK, text=text)


def doubtful(text: str, advice: str = "") -> Finding:
    return Finding(verdict=Verdict.WARNING, text=text, advice=advice)


def wrong(text: str, advice: str = "") -> Finding:
    return Finding(verdict=Verdict.FAILURE, text=text, advice=advice)
