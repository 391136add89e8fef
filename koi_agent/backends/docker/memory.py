"""What outlives a connection to an engine: its containers, and how far its events were heard."""

import time
from collections import deque
from dataclasses import dataclass, field

from koi_agent.backends.docker.containers import Container
from koi_agent.backends.docker.events import Event

_NANOSECONDS = 1_000_000_000
_MOST_RECENT = 1024
"""Events remembered, to know them again: an engine keeps 256 to tell them once more."""


@dataclass(slots=True)
class Memory:
    """Kept by the backend from one session to the next."""

    known: dict[str, Container] = field(default_factory=dict)
    heard_until: int = 0
    _recent: deque[tuple[int, str, str]] = field(default_factory=lambda: deque(maxlen=_MOST_RECENT))
    _told_before: frozenset[tuple[int, str, str]] = frozenset()

    def since(self) -> str:
        """Say from when on events are wanted, as the engines' API has it.

        That moment is included, so what was heard of it will come again; ``is_new`` knows.
        Before anything was heard it is now, and a clock that was set back is believed.
        """
        self._told_before = frozenset(self._recent)
        now = time.time_ns()
        moment = min(self.heard_until or now, now)
        return f"{moment // _NANOSECONDS}.{moment % _NANOSECONDS:09d}"

    def is_new(self, event: Event) -> bool:
        """Note an event; returns whether it was not heard over the connection before."""
        mark = (event.time, event.id, event.action)
        if event.time and mark in self._told_before:
            return False
        self._recent.append(mark)
        self.heard_until = max(self.heard_until, event.time)
        return True
