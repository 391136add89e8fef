"""Containers that were sent a signal that ends them.

Most end before a client could read that they are stopping. So this is published only of those that
still run a moment later.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from koi_agent.backends.docker.containers import Container

FATAL: Final = frozenset({9, 15})
"""Signals that end a container. Besides these only its own stop signal does (``docker stop``)."""


class StopNotices:
    """Passes a container, by id, to ``publish`` some seconds after its signal."""

    def __init__(self, seconds: float, publish: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._publish = publish
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def add(self, id_: str) -> None:
        """Add a container; the time counts from its first signal."""
        if id_ not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[id_] = loop.call_later(self._seconds, self._on_time, id_)

    def discard(self, id_: str) -> None:
        """Remove a container that has ended or has another state, if it is there."""
        if timer := self._timers.pop(id_, None):
            timer.cancel()

    def close(self) -> None:
        """Remove all containers."""
        for id_ in list(self._timers):
            self.discard(id_)

    def _on_time(self, id_: str) -> None:
        del self._timers[id_]
        self._publish(id_)


def is_fatal(signal: int, container: Container) -> bool:
    """Return True if a signal ends a container; 0 is an unknown one."""
    own = container.inspected.stop_signal if container.inspected else 0
    return bool(signal) and signal in FATAL | {own}
