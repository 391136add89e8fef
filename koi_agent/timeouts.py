"""Time limits that also hold in a task that is being cancelled.

If ``asyncio.timeout`` of Python 3.11.2 expires in a task that was cancelled before, it raises
``CancelledError``, and the rest of an orderly end does not run. Debian bookworm has that version.
Source: https://github.com/python/cpython/issues/102780
"""

import asyncio
from types import TracebackType
from typing import Self


class Timeout:
    """A block that may run until ``when``, a time of the loop; None for no limit.

    Its end raises ``TimeoutError`` if the block ran longer.
    """

    def __init__(self, when: float | None) -> None:
        self._limit = asyncio.timeout_at(when)
        self._cancellations = 0

    def reschedule(self, when: float | None) -> None:
        """Set another time, or None."""
        self._limit.reschedule(when)

    def expired(self) -> bool:
        """Return True if the block has ended because of its limit."""
        return self._limit.expired()

    async def __aenter__(self) -> Self:
        self._cancellations = _cancellations()
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._limit.__aexit__(kind, error, trace)
        cancelled = isinstance(error, asyncio.CancelledError)
        if cancelled and self._limit.expired() and _cancellations() <= self._cancellations:
            raise TimeoutError from error


def timeout(seconds: float | None) -> Timeout:
    """Return a limit of some seconds, which begin now."""
    return Timeout(_in(seconds))


def timeout_at(when: float | None) -> Timeout:
    """Return a limit at a time of the loop."""
    return Timeout(when)


async def set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until an event is set; return False if it is not within these seconds."""
    return await set_before(event, _in(seconds))


async def set_before(event: asyncio.Event, when: float | None) -> bool:
    """Wait until an event is set; return False if it is not before this time of the loop."""
    try:
        async with timeout_at(when):
            return await event.wait()
    except TimeoutError:
        return False


def _in(seconds: float | None) -> float | None:
    """Return the time of the loop after some seconds, None for no limit."""
    if seconds is None:
        return None
    return asyncio.get_running_loop().time() + seconds


def _cancellations() -> int:
    """Return how often the task that runs was cancelled, without the limits that have expired."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0
