"""Machines of systemd-machined over D-Bus: containers and virtual machines that register there.

``manager`` has the calls and the signals. ``machines`` parses the answers and has the rules, and
the ``table`` has what was delivered. For one connection, ``session`` receives the signals,
``read_queue`` and ``address_schedule`` decide what is read and when, and ``reader`` reads it.

The name of a machine is its ID. Its unit is the same instance, and has its metadata.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from koi_agent.backends.machined.machines import BACKEND
from koi_agent.backends.machined.manager import MACHINED, backend_errors, is_running
from koi_agent.backends.machined.session import Session
from koi_agent.backends.machined.table import Known
from koi_agent.bus.client import Connection, ReconnectingBus
from koi_agent.bus.errors import BusLost
from koi_agent.bus.presence import Presence
from koi_agent.config import MachinedConfig
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.machine_units import MachineUnits

ABSENT: Final = (
    "systemd-machined is not running; the first machine starts it, for users since systemd 259"
)


class Machined:
    """The systemd-machined on a bus. It is never started by a call of the agent."""

    name = BACKEND

    def __init__(
        self,
        bus: ReconnectingBus,
        config: MachinedConfig,
        listeners: ListenerTable,
        units: MachineUnits,
    ) -> None:
        self._bus = bus
        self._config = config
        self._listeners = listeners
        self._units = units
        self._machines: dict[str, Known] = {}
        self._owner = ""

    @asynccontextmanager
    async def session(self, deliver: Deliver) -> AsyncIterator[Session]:
        """Subscribe to the signals; raise ``BackendLost`` or ``BackendAbsent``."""
        self._owner = ""
        async with backend_errors():
            connection = await self._bus.connection()
            # ``arrival`` waits for the name. Until it is there, nothing is subscribed to.
            if not await is_running(connection):
                raise BackendAbsent(ABSENT)
        session = Session(
            *(connection, self._config, deliver, self._machines),
            *(self._listeners, self._units),
        )
        async with backend_errors(), connection.subscribed(session.subscription) as owner:
            try:
                self._owner = owner
                if not owner:
                    raise BackendAbsent(ABSENT)
                await session.open()
                yield session
            finally:
                session.close()

    async def arrival(self) -> None:
        """Wait until systemd-machined is on the bus, or has been replaced there."""
        try:
            async with backend_errors():
                await self._await_other(await self._bus.connection())
        except BackendLost as lost:
            if not isinstance(lost.__cause__, BusLost):
                await asyncio.Event().wait()  # the bus refuses the call: try again later

    async def _await_other(self, connection: Connection) -> None:
        presence = Presence(connection)
        async with AsyncExitStack() as stack:
            await presence.watch(stack, MACHINED)
            while presence.owners[MACHINED] in ("", self._owner):
                await presence.change()
