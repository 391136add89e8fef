"""Units of a systemd manager, system or user, over D-Bus.

The path of a ``PropertiesChanged`` signal:

- ``session`` receives the signals of one read and calls ``UnitTable.properties_changed`` for each.
- ``UnitTable.evaluate`` decides, by the rules of ``units``, which of the units run.
- ``reconciler`` answers the table's queries: it reads the files of a new unit (``details``,
  ``unit_files``), where sockets listen (``sockets``), and the listeners of the host (``ports``).
- ``stops`` has the dead units that may restart: a list of the manager decides about them.
- ``Runs.report`` delivers ``Seen`` or ``Gone`` to the follower, which applies it to the registry.

After a daemon-reload, and every ``ResyncInterval=``, the reconciler compares the table with a full
list.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koi_agent.backends.systemd.manager import backend_errors
from koi_agent.backends.systemd.session import Session
from koi_agent.backends.systemd.unit_files import UnitFileReader
from koi_agent.backends.systemd.units import BACKEND
from koi_agent.bus.client import ReconnectingBus
from koi_agent.config import SystemdConfig
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendAbsent
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.machine_units import MachineUnits
from koi_agent.timeouts import timeout

APPEARANCE_TIMEOUT = 20.0
"""Seconds to wait for the name of the manager that started the agent."""


class Systemd:
    """The manager on a bus.

    ``has_started_us`` is true where a manager has started the agent. That one may still be
    connecting to the bus, so its absence is believed only after ``APPEARANCE_TIMEOUT``.
    """

    name = BACKEND

    def __init__(
        self,
        bus: ReconnectingBus,
        config: SystemdConfig,
        files: UnitFileReader,
        listeners: ListenerTable,
        machine_units: MachineUnits,
        *,
        has_started_us: bool = False,
    ) -> None:
        self._bus = bus
        self._config = config
        self._files = files
        self._listeners = listeners
        self._machine_units = machine_units
        self._has_started_us = has_started_us

    @asynccontextmanager
    async def session(self, deliver: Deliver) -> AsyncIterator[Session]:
        """Subscribe to the manager's signals; raises ``BackendLost`` or ``BackendAbsent``."""
        async with backend_errors():
            connection = await self._bus.connection()
        session = Session(
            *(connection, self._config, deliver, self._files),
            *(self._listeners, self._machine_units),
        )
        async with backend_errors(), connection.subscribed(session.subscription) as owner:
            try:
                if not owner:
                    await self._await_appearance(session)
                await session.open()
                yield session
            finally:
                session.close()

    async def _await_appearance(self, session: Session) -> None:
        """Wait until systemd gets its name on the bus; raises ``BackendAbsent`` if it does not."""
        is_expected, self._has_started_us = self._has_started_us, False
        try:
            async with timeout(APPEARANCE_TIMEOUT if is_expected else 0):
                await session.appearance()
        except TimeoutError as error:
            raise BackendAbsent("systemd is not on the bus") from error
        self._has_started_us = is_expected

    async def arrival(self) -> None:
        """Wait forever: the connection waits for the bus, and each attempt finds systemd on it."""
        await asyncio.Event().wait()
