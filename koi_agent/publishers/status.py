"""The one line of ``systemctl status``: how many instances, of which backends, and what is wrong.

It is told once a second at most: systemd tells all its subscribers of each.
"""

import asyncio
from collections.abc import Sequence

from koi_agent.core.events import BackendState, BackendStatus, Event
from koi_agent.core.registry import Registry
from koi_agent.host.notify import Notifier

PAUSE = 1.0
"""Seconds between two tellings."""


class StatusPublisher:
    """An event sink that keeps ``STATUS=`` current, from the first event on."""

    def __init__(self, registry: Registry, notifier: Notifier) -> None:
        self._registry = registry
        self._notifier = notifier
        self._timer: asyncio.TimerHandle | None = None
        self._due = False

    def publish(self, events: Sequence[Event]) -> None:
        """Tell systemd at once, or at the end of the pause."""
        if self._timer:
            self._due = True
        else:
            self._notifier.status(self.text())
            self._timer = asyncio.get_running_loop().call_later(PAUSE, self._end_pause)

    def _end_pause(self) -> None:
        self._timer = None
        if self._due:
            self._due = False
            self.publish(())

    def text(self) -> str:
        """Put the registry into a line: ``5 instances: systemd 5; podman: connecting``.

        A runtime that this host does not have is nothing to tell of.
        """
        backends = self._registry.backends.values()
        counts = ", ".join(_count(b) for b in backends if b.last_sync)
        others = [f"{b.name}: {b.state}" for b in backends if _awaited(b)]
        number = len(self._registry.visible)
        said = f"{number} instance{'' if number == 1 else 's'}"
        return "; ".join([f"{said}: {counts}" if counts else said, *others])


def _awaited(backend: BackendStatus) -> bool:
    return not backend.last_sync and backend.state is not BackendState.ABSENT


def _count(backend: BackendStatus) -> str:
    stale = " (stale)" if backend.state is BackendState.STALE else ""
    return f"{backend.name} {backend.instances}{stale}"
