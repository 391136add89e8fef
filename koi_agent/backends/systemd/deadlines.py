"""Deadlines of units, and one timer for all of them. Times are monotonic seconds."""

import asyncio
import math
import time
from collections.abc import Callable

EARLY = 0.1
"""A deadline may pass earlier, by this share of its time. The deadlines of a burst are close
together, and all pass with the first one."""


class Timer:
    """A timer that one task waits for; others may move it to an earlier time.

    To move it does not wake the task up.
    """

    def __init__(self) -> None:
        self._due = math.inf
        self._waiting: asyncio.Future[None] | None = None
        self._handle: asyncio.TimerHandle | None = None

    def start(self, due: float) -> None:
        """Start the timer for a time, unless it elapses earlier."""
        if due < self._due:
            self._due = due
            if self._waiting:
                self._schedule(self._waiting)

    async def elapsed(self) -> None:
        """Wait until the timer elapses; it does not elapse again until it is started."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            self._schedule(self._waiting)
            await self._waiting
        finally:
            self._cancel()
            self._waiting = None
        self._due = math.inf

    def _schedule(self, waiting: asyncio.Future[None]) -> None:
        self._cancel()
        if not math.isinf(self._due):
            rest = max(0.0, self._due - time.monotonic())
            self._handle = waiting.get_loop().call_later(rest, _end, waiting)

    def _cancel(self) -> None:
        if self._handle:
            self._handle.cancel()
            self._handle = None


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _never(_path: str) -> bool:
    return False


class Deadlines:
    """Object paths of units, each until ``seconds`` after it was added; starts a timer for them."""

    def __init__(self, seconds: float, timer: Timer) -> None:
        self._seconds = seconds
        self._timer = timer
        self._due: dict[str, float] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._due

    def paths(self) -> set[str]:
        """Return all paths."""
        return set(self._due)

    def add(self, path: str) -> None:
        """Add a path; the deadline of one that is there stays."""
        self._due.setdefault(path, time.monotonic() + self._seconds)
        self._timer.start(self._due[path])

    def discard(self, path: str) -> None:
        """Remove a path, if it is there."""
        self._due.pop(path, None)

    def passed(self, now: float, *, unless: Callable[[str], bool] = _never) -> list[str]:
        """Return the paths whose deadline has passed, unless something is true of them."""
        latest = now + EARLY * self._seconds
        return [path for path, due in self._due.items() if due <= latest and not unless(path)]

    def next(self, *, unless: Callable[[str], bool] = _never) -> float:
        """Return the earliest deadline of the same paths, infinity without one."""
        return min((due for path, due in self._due.items() if not unless(path)), default=math.inf)
