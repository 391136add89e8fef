"""The provider for avahi-daemon, over the system bus: one entry group for each instance.

Avahi frees all groups of a connection that ends, so no record outlives the agent. A connection may
have 1024 groups, so the provider opens as many connections as it needs.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Never

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.bus.writer import BusLost
from koi_agent.capabilities.mdns.avahi.entries import AVAHI, Host
from koi_agent.capabilities.mdns.avahi.entry_groups import (
    GROUP,
    NO_AUTO_START,
    SERVER,
    Group,
    Name,
)
from koi_agent.capabilities.mdns.records import MdnsRecord
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ProviderRefused, ungrouped
from koi_agent.core.key import Key
from koi_agent.host import addresses
from koi_agent.host.addresses import Addresses, HostAddress

log = logging.getLogger(__name__)

RUNNING: Final = 2
"""AVAHI_SERVER_RUNNING: Avahi has registered its host name."""
MOST_GROUPS: Final = 1000
"""Groups of one connection: Avahi's objects-per-client-max is 1024."""
ADDRESS_RETRY: Final = 5.0
"""Seconds until the kernel is asked again after it failed to list addresses."""
SETTLING: Final = 1.0
"""Seconds from a change of the host's addresses until they are read: changes come in bursts."""


@dataclass(frozen=True, slots=True)
class Avahi:
    """The avahi-daemon on the bus at ``address``."""

    address: str

    @property
    def name(self) -> str:
        """The name on the bus."""
        return AVAHI

    @property
    def absence(self) -> str:
        """The reason without a session."""
        return "avahi-daemon does not run"

    async def usable(self, _connection: Connection) -> bool:
        """Return True: an avahi-daemon on the bus publishes."""
        return True

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator["Session"]:
        """Connect, and wait until Avahi has its host name; raise ``ProviderLost``."""
        async with AsyncExitStack() as stack:
            try:
                watch = Addresses()
                stack.callback(watch.close)
                session = Session(self.address, stack, report, watch)
                await session.open()
            except TimeoutError as error:
                raise ProviderLost("avahi-daemon does not answer") from error
            except (BusLost, CallError, OSError) as error:
                raise ProviderLost(str(error)) from error
            yield session


class Session:
    """The agent's entry groups in one run of avahi-daemon."""

    def __init__(
        self, address: str, stack: AsyncExitStack, report: Report, watch: Addresses
    ) -> None:
        self._address = address
        self._stack = stack
        self._report = report
        self._watch = watch
        self._connections: dict[Connection, int] = {}  # with the number of groups on each
        self._connected = asyncio.Event()
        self._groups: dict[Key, Group] = {}
        self._by_path: dict[str, Group] = {}
        self._host = Host()
        self._state_changed = asyncio.Event()
        self._connecting = asyncio.Lock()

    async def open(self) -> None:
        """Wait until Avahi has a host name; raise ``CallError`` if it is gone."""
        connection = await self._connect()
        while not await self._is_running(connection):
            await self._wait_for_state()
        (name,) = await connection.call(SERVER, "GetHostName", flags=NO_AUTO_START)
        self._host = Host(str(name), addresses.now())

    async def _wait_for_state(self) -> None:
        """Wait until the state or the owner of Avahi changes."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                lost = group.create_task(self._end_with_bus(), name="avahi: bus")
                await self._state_changed.wait()
                lost.cancel()

    async def _connect(self) -> Connection:
        """Open one more connection."""
        connection = await self._stack.enter_async_context(connected(self._address))
        await self._stack.enter_async_context(connection.subscribed(self._subscription()))
        self._connections[connection] = 0
        self._connected.set()
        return connection

    def _subscription(self) -> Subscription:
        """Return the subscription; Avahi sends signals of a group to its owner without a rule."""
        _, path, interface = SERVER
        rule = f"type='signal',sender='{AVAHI}',interface='{interface}',path='{path}'"
        return Subscription(
            sender=AVAHI,
            rules=() if self._connections else (rule + ",member='StateChanged'",),
            members=frozenset({(interface, "StateChanged"), (GROUP, "StateChanged")}),
            deliver=self._on_signals,
        )

    async def _is_running(self, connection: Connection) -> bool:
        self._state_changed.clear()
        (state,) = await connection.call(SERVER, "GetState", flags=NO_AUTO_START)
        return bool(state == RUNNING)

    def _on_signals(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if not isinstance(signal, Signal):
                continue
            group = self._by_path.get(signal.path)
            if signal.interface == GROUP and group:
                state, _error = signal.body
                group.on_state(int(state))
            elif signal.interface != GROUP:
                self._state_changed.set()

    async def put(self, owner: Key, records: Sequence[MdnsRecord]) -> None:
        """Publish exactly these records of an owner; raise ``ProviderRefused``."""
        try:
            group = self._groups.get(owner)
            if records:
                group = group or await self._new_group(owner)
                await group.publish(records, self._host)
            elif group:
                await group.free()
                del self._groups[owner], self._by_path[group.path]
                self._connections[group.connection] -= 1
        except CallError as error:
            raise ProviderRefused(f"avahi: {error}") from error
        except BusLost as lost:
            raise ProviderLost(f"bus: {lost}") from lost

    async def _new_group(self, owner: Key) -> Group:
        async with self._connecting:
            free = (one for one, groups in self._connections.items() if groups < MOST_GROUPS)
            connection = next(free, None) or await self._connect()
            self._connections[connection] += 1
        try:
            (path,) = await connection.call(SERVER, "EntryGroupNew", flags=NO_AUTO_START)
        except CallError:
            self._connections[connection] -= 1
            raise
        group = Group(connection, str(path), owner, self._report, self._release)
        self._groups[owner] = self._by_path[group.path] = group
        return group

    async def _release(self, group: Group, name: Name) -> bool:
        """Make another group release a name that the plan gives to ``group`` now.

        Returns False if no other group has the name.
        """
        for other in list(self._groups.values()):
            if other is not group and other.has(name):
                return await other.release()
        return False

    async def run(self) -> Never:
        """Follow the host's addresses; raise ``ProviderLost`` when Avahi or the bus is lost."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._end_with_avahi(), name="avahi: name")
                group.create_task(self._end_with_bus(), name="avahi: bus")
                group.create_task(self._follow_addresses(), name="avahi: addresses")
        raise AssertionError("a session ends when its provider is lost")

    async def _end_with_avahi(self) -> None:
        await self._state_changed.wait()
        raise ProviderLost("avahi-daemon ended or changes its host name")

    async def _end_with_bus(self) -> Never:
        """Watch all connections: the groups of a lost one are gone."""
        watched: set[Connection] = set()
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                while True:
                    self._connected.clear()
                    for connection in self._connections.keys() - watched:
                        group.create_task(_end_with(connection), name="avahi: connection")
                    watched |= self._connections.keys()
                    await self._connected.wait()
        raise AssertionError("a lost connection raises")

    async def _follow_addresses(self) -> None:
        """Publish host names again when the addresses of this host change."""
        while True:
            await self._watch.changed()
            await asyncio.sleep(SETTLING)
            host = replace(self._host, addresses=await _addresses())
            if host == self._host:
                continue
            self._host = host
            log.debug("the addresses of this host have changed")
            for owner, group in list(self._groups.items()):
                await self._refresh(owner, group)

    async def _refresh(self, owner: Key, group: Group) -> None:
        try:
            await group.refresh(self._host)
        except (CallError, TimeoutError) as error:
            if self._groups.get(owner) is group:
                group.fail(f"avahi: {str(error) or 'no answer'}")
        except BusLost as lost:
            raise ProviderLost(f"bus: {lost}") from lost


async def _addresses() -> tuple[HostAddress, ...]:
    """Return the host's addresses; try again until the kernel lists them."""
    while True:
        try:
            return addresses.now()
        except OSError as error:
            log.warning("can't read this host's addresses: %s; trying again", error)
            await asyncio.sleep(ADDRESS_RETRY)


async def _end_with(connection: Connection) -> Never:
    raise ProviderLost(f"bus: {await connection.wait_closed()}")
