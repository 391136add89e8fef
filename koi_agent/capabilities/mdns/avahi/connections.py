"""The connections to Avahi, which allows 1024 objects for each: as many as the groups need."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Never

from koi_agent.bus.client import CALL_TIMEOUT, Connection, connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.capabilities.mdns.bus_names import AVAHI
from koi_agent.core.errors import ProviderLost, ungrouped

SERVER: Final = (AVAHI, "/", f"{AVAHI}.Server")
GROUP: Final = f"{AVAHI}.EntryGroup"
MOST_GROUPS: Final = 1000
"""Groups of one connection: Avahi's objects-per-client-max is 1024."""
NO_AUTO_START: Final = 2
"""Call flag NO_AUTO_START: the administrator decides whether avahi-daemon runs."""

Deliver = Callable[[Sequence[Signal | Changed]], None]


class Connections:
    """The connections to the bus at ``address``; ``deliver`` gets the signals of Avahi."""

    def __init__(self, address: str, stack: AsyncExitStack, deliver: Deliver) -> None:
        self._address = address
        self._stack = stack
        self._deliver = deliver
        self._groups: dict[Connection, int] = {}  # the number of groups on each
        self._connecting = asyncio.Lock()
        self._connected = asyncio.Event()

    async def first(self) -> Connection:
        """Return the connection that calls the server; open it at first."""
        return next(iter(self._groups), None) or await self._connect()

    async def reserve(self, number: int) -> Connection:
        """Return a connection with room for a number of groups, which counts from now on."""
        async with self._connecting:
            fitting = (one for one, used in self._groups.items() if used + number <= MOST_GROUPS)
            connection = next(fitting, None) or await self._connect()
            self._groups[connection] += number
        return connection

    def release(self, connection: Connection, number: int) -> None:
        """Count groups of a connection as gone."""
        self._groups[connection] -= number

    async def call(
        self, member: str, signature: str = "", *body: Any, within: float = CALL_TIMEOUT
    ) -> list[Any]:
        """Call a method of Avahi's server; raise as ``Connection.call`` does."""
        connection, flags = await self.first(), NO_AUTO_START
        return await connection.call(SERVER, member, signature, body, within=within, flags=flags)

    async def _connect(self) -> Connection:
        """Open one more connection."""
        connection = await self._stack.enter_async_context(connected(self._address))
        await self._stack.enter_async_context(connection.subscribed(self._subscription()))
        self._groups[connection] = 0
        self._connected.set()
        return connection

    def _subscription(self) -> Subscription:
        """Return the subscription; Avahi sends signals of a group to its owner without a rule."""
        _, path, interface = SERVER
        rule = f"type='signal',sender='{AVAHI}',interface='{interface}',path='{path}'"
        return Subscription(
            sender=AVAHI,
            rules=() if self._groups else (rule + ",member='StateChanged'",),
            members=frozenset({(interface, "StateChanged"), (GROUP, "StateChanged")}),
            deliver=self._deliver,
        )

    async def end(self) -> Never:
        """Wait until a connection is lost; raise ``ProviderLost``, as its groups are gone."""
        watched: set[Connection] = set()
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                while True:
                    self._connected.clear()
                    for connection in self._groups.keys() - watched:
                        group.create_task(_end_with(connection), name="avahi: connection")
                    watched |= self._groups.keys()
                    await self._connected.wait()
        raise AssertionError("a lost connection raises")


async def _end_with(connection: Connection) -> Never:
    raise ProviderLost(f"bus: {await connection.wait_closed()}")
