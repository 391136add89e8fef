"""Units of a systemd manager, system or user, over D-Bus.

``session`` passes signals to ``unit_table``, which owns the state of units and delivers changes
by the rules of ``units`` and ``runs``. ``reconciler`` answers the table's queries: it
asks ``manager`` for properties and lists, reads unit files by ``details`` and ``unit_files``, and
finds listeners. ``ports``, ``sockets`` and ``freezer`` hold what the signals do not have.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koi_agent.backends.systemd.manager import backend_errors
from koi_agent.backends.systemd.session import Session
from koi_agent.backends.systemd.units import BACKEND
from koi_agent.bus.client import ReconnectingBus
from koi_agent.config import SystemdConfig
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendAbsent
from koi_agent.host.listeners import ListenerTable


class Systemd:
    """The manager on a bus."""

    name = BACKEND

    def __init__(
        self, bus: ReconnectingBus, config: SystemdConfig, listeners: ListenerTable
    ) -> None:
        self._bus = bus
        self._config = config
        self._listeners = listeners

    @asynccontextmanager
    async def session(self, deliver: Deliver) -> AsyncIterator[Session]:
        """Subscribe to the manager's signals; raises ``BackendLost`` or ``BackendAbsent``."""
        async with backend_errors():
            connection = await self._bus.connection()
        session = Session(connection, self._config, deliver, self._listeners)
        async with backend_errors(), connection.subscribed(session.subscription) as owner:
            if not owner:
                raise BackendAbsent("systemd is not on the bus")
            try:
                await session.open()
                yield session
            finally:
                session.close()

    async def arrival(self) -> None:
        """Wait forever: the connection waits for the bus, and each attempt finds systemd on it."""
        await asyncio.Event().wait()
