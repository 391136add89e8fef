"""Units of a systemd manager, system or user, over D-Bus.

``queries`` asks the manager, ``tracker`` makes changes of its signals by the rules of
``units``, ``lister`` lists, ``session`` holds them together for one connection; ``details``
reads ``unit_files``, ``listeners`` and ``sockets`` find the ports, ``freezer`` what is frozen.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koi_agent.backends.systemd.manager import subscription, translated
from koi_agent.backends.systemd.session import Session
from koi_agent.backends.systemd.units import BACKEND
from koi_agent.bus.client import ReconnectingBus
from koi_agent.config import SystemdConfig
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendAbsent
from koi_agent.host.listeners import ListenerTable


class Systemd:
    """The manager whose bus is ``bus``."""

    name = BACKEND

    def __init__(self, bus: ReconnectingBus, config: SystemdConfig, census: ListenerTable) -> None:
        self._census = census
        self._bus = bus
        self._config = config

    @asynccontextmanager
    async def session(self, deliver: Deliver) -> AsyncIterator[Session]:
        """Subscribe to the manager's signals; raises ``BackendLost`` or ``BackendAbsent``."""
        async with translated():
            link = await self._bus.connection()
        session = Session(link, self._config, deliver, self._census)
        wanted = subscription(session.tracker.patterns.wants, session.tracker.receive)
        async with translated(), link.subscribed(wanted) as owner:
            if not owner:
                raise BackendAbsent("systemd is not on the bus")
            try:
                await session.open()
                yield session
            finally:
                session.close()

    async def arrival(self) -> None:
        """Wait for ever: the bus door does the waiting for the bus, and for systemd on it."""
        await asyncio.Event().wait()
