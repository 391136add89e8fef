"""Inspections at several times after a change, because no event reports an address."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise


class AddressChecks:
    """Calls ``check`` with an id at several ``times`` after ``begin``: seconds, ascending.

    An instance has one timer, whatever the number of its events. ``span`` is the last of the times.
    """

    def __init__(self, times: Sequence[float], check: Callable[[str], None]) -> None:
        self._pauses = [later - sooner for sooner, later in pairwise((0.0, *times))]
        self._check = check
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.span = max(times, default=0.0)

    def begin(self, id_: str) -> None:
        """Check an instance from now on, and end its earlier checks."""
        self.end(id_)
        self._schedule(id_, 0)

    def end(self, id_: str) -> None:
        """End the checks of an instance."""
        if timer := self._timers.pop(id_, None):
            timer.cancel()

    def close(self) -> None:
        """End all checks."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _schedule(self, id_: str, number: int) -> None:
        if number < len(self._pauses):
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._pauses[number], self._on_time, id_, number)
            self._timers[id_] = timer

    def _on_time(self, id_: str, number: int) -> None:
        del self._timers[id_]
        self._check(id_)
        self._schedule(id_, number + 1)
