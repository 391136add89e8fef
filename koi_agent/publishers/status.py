"""The status line of ``systemctl status``: instances by backend, and backends with a problem.

It changes at most once a second: systemd sends each change to all clients that listen to it.
"""

import asyncio
from collections.abc import Sequence

from koi_agent.core.events import BackendState, BackendStatus, Event
from koi_agent.core.registry import Registry
from koi_agent.host.notify import Notifier

INTERVAL = 1.0
"""Seconds between two changes of the line."""


class StatusPublisher:
    """An event sink that keeps ``STATUS=`` current, from the first event on."""

    def __init__(self, registry: Registry, notifier: Notifier) -> None:
        self._registry = registry
        self._notifier = notifier
        self._timer: asyncio.TimerHandle | None = None
        self._changed = False

    def publish(self, events: Sequence[Event]) -> None:
        """Send the line at once, or at the end of the interval."""
        if self._timer:
            self._changed = True
        else:
            self._notifier.status(self.text())
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._changed:
            self._changed = False
            self.publish(())

    def text(self) -> str:
        """Return the line: ``5 instances: systemd 5; podman: connecting``.

        A backend that is absent from this host is left out.
        """
        backends = self._registry.backends.values()
        counts = ", ".join(_count(b) for b in backends if b.last_sync)
        others = [f"{b.name}: {b.state}" for b in backends if _is_missing(b)]
        number = len(self._registry.visible)
        total = f"{number} instance{'' if number == 1 else 's'}"
        return "; ".join([f"{total}: {counts}" if counts else total, *others])


def _is_missing(backend: BackendStatus) -> bool:
    """Return True for a backend that was never listed and is not absent."""
    return not backend.last_sync and backend.state is not BackendState.ABSENT


def _count(backend: BackendStatus) -> str:
    stale = " (stale)" if backend.state is BackendState.STALE else ""
    return f"{backend.name} {backend.instances}{stale}"
