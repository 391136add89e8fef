"""Schedules readings of the addresses of machines: soon after a start, then less often."""

import asyncio
from typing import Final

from koi_agent.timeouts import set_before

FIRST: Final = 0.1
LONGEST: Final = 6.4
"""Seconds between two readings, which double from the first to the longest."""
LAST: Final = 120.0
"""Seconds after a start until only lists read: a machine may never have an address."""
SETTLED: Final = 5.0
"""Seconds from the first address to the last reading: IPv6 may have one later than IPv4."""


class AddressSchedule:
    """The names of machines, each with the loop time of its next reading."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        self._changed = asyncio.Event()

    def start(self, name: str) -> None:
        """Schedule readings of a machine, as after its start."""
        now = asyncio.get_running_loop().time()
        self._pauses[name] = FIRST
        self._ends[name] = now + LAST
        self._set(name, now + FIRST)

    def again(self, name: str) -> None:
        """Schedule one more reading after the next pause, until ``LAST`` has passed."""
        now = asyncio.get_running_loop().time()
        if now < self._ends.get(name, 0.0):
            self._set(name, now + self._pauses[name])
            self._pauses[name] = min(2 * self._pauses[name], LONGEST)

    def finish(self, name: str) -> None:
        """Schedule the last reading, when addresses have settled."""
        now = asyncio.get_running_loop().time()
        if name in self._ends:
            del self._ends[name]
            self._set(name, now + SETTLED)

    def forget(self, name: str) -> None:
        """Remove the readings of a machine."""
        for times in (self._due, self._pauses, self._ends):
            times.pop(name, None)

    async def due(self) -> list[str]:
        """Wait until machines are due; return their names. Without any, nothing wakes up."""
        while True:
            now = asyncio.get_running_loop().time()
            names = [name for name, at in self._due.items() if at <= now]
            if names:
                for name in names:
                    del self._due[name]
                return names
            self._changed.clear()
            await set_before(self._changed, min(self._due.values(), default=None))

    def _set(self, name: str, at: float) -> None:
        self._due[name] = at
        self._changed.set()
