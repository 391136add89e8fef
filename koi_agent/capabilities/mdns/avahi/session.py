"""The session with avahi-daemon, over the system bus.

Avahi frees all groups of a connection that ends, so no record outlives the agent.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, Never

from koi_agent.bus.client import CallError
from koi_agent.bus.signals import Changed, Signal
from koi_agent.bus.writer import BusLost
from koi_agent.capabilities.mdns.avahi.connections import GROUP, Connections
from koi_agent.capabilities.mdns.avahi.entries import Host
from koi_agent.capabilities.mdns.avahi.entry_groups import EntryGroups
from koi_agent.capabilities.mdns.avahi.family_names import FamilyNames
from koi_agent.capabilities.mdns.avahi.publisher import Name, Publisher
from koi_agent.capabilities.mdns.records import MdnsRecord
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ProviderRefused, ungrouped
from koi_agent.core.key import Key
from koi_agent.host import addresses
from koi_agent.host.addresses import Addresses

log = logging.getLogger(__name__)

RUNNING: Final = 2
"""AVAHI_SERVER_RUNNING: Avahi has registered its host name."""
ADDRESS_RETRY: Final = 5.0
"""Seconds until the kernel is asked again after it failed to list addresses."""
SETTLING: Final = 1.0
"""Seconds from a change of the host's addresses until they are read: changes come in bursts."""


@asynccontextmanager
async def connected_session(address: str, report: Report) -> AsyncIterator["Session"]:
    """Connect to a bus, and wait until Avahi has its host name; raise ``ProviderLost``."""
    async with AsyncExitStack() as stack:
        try:
            watch = Addresses()
            stack.callback(watch.close)
            session = Session(address, stack, report, watch)
            await session.open()
        except TimeoutError as error:
            raise ProviderLost("avahi-daemon does not answer") from error
        except (BusLost, CallError, OSError) as error:
            raise ProviderLost(str(error)) from error
        yield session


class Session:
    """The agent's records in one run of avahi-daemon."""

    def __init__(
        self, address: str, stack: AsyncExitStack, report: Report, watch: Addresses
    ) -> None:
        self._report = report
        self._watch = watch
        self._connections = Connections(address, stack, self._on_signals)
        self._groups = EntryGroups(self._connections)
        self._family_names = FamilyNames(self._connections, self._groups)
        self._publishers: dict[Key, Publisher] = {}
        self._host = Host()
        self._state_changed = asyncio.Event()

    async def open(self) -> None:
        """Wait until Avahi has a host name; raise ``CallError`` if it is gone."""
        await self._connections.first()
        while not await self._is_running():
            await self._wait_for_state()
        (name,) = await self._connections.call("GetHostName")
        self._host = _host(str(name))
        self._family_names.set_host(self._host)

    async def _wait_for_state(self) -> None:
        """Wait until the state or the owner of Avahi changes."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                lost = group.create_task(self._connections.end(), name="avahi: bus")
                await self._state_changed.wait()
                lost.cancel()

    async def _is_running(self) -> bool:
        self._state_changed.clear()
        (state,) = await self._connections.call("GetState")
        return bool(state == RUNNING)

    def _on_signals(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if not isinstance(signal, Signal):
                continue
            if signal.interface == GROUP:
                self._groups.on_signal(signal)
            else:
                self._state_changed.set()

    async def put(self, owner: Key, records: Sequence[MdnsRecord]) -> None:
        """Publish exactly these records of an owner; raise ``ProviderRefused``."""
        self._family_names.use(owner, records)
        if not records and owner not in self._publishers:
            return
        publisher = self._publishers.setdefault(owner, self._publisher(owner))
        try:
            await publisher.put(records, self._host)
        except CallError as error:
            raise ProviderRefused(f"avahi: {error}") from error
        except BusLost as lost:
            raise ProviderLost(f"bus: {lost}") from lost
        if not records:
            del self._publishers[owner]

    def _publisher(self, owner: Key) -> Publisher:
        return Publisher(owner, self._connections, self._groups, self._report, self._release)

    async def _release(self, publisher: Publisher, name: Name) -> bool:
        """Make another instance release a name that the plan gives to this one now.

        Returns False if no other instance has the name.
        """
        for other in list(self._publishers.values()):
            if other is not publisher and other.has(name):
                return await other.release(name)
        return False

    async def run(self) -> Never:
        """Follow the host's addresses; raise ``ProviderLost`` when Avahi or the bus is lost."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._end_with_avahi(), name="avahi: name")
                group.create_task(self._connections.end(), name="avahi: bus")
                group.create_task(self._follow_addresses(), name="avahi: addresses")
                group.create_task(self._watch_groups(), name="avahi: groups")
                group.create_task(self._family_names.run(), name="avahi: family names")
        raise AssertionError("a session ends when its provider is lost")

    async def _end_with_avahi(self) -> None:
        await self._state_changed.wait()
        raise ProviderLost("avahi-daemon ended or changes its host name")

    async def _watch_groups(self) -> Never:
        try:
            await self._groups.watch()
        except BusLost as lost:
            raise ProviderLost(f"bus: {lost}") from lost

    async def _follow_addresses(self) -> None:
        """Publish what depends on the addresses of this host again when they change."""
        while True:
            await self._watch.changed()
            await asyncio.sleep(SETTLING)
            host = await _host_now(self._host.name)
            if host == self._host:
                continue
            self._host = host
            log.debug("the addresses of this host have changed")
            self._family_names.set_host(host)
            for owner, publisher in list(self._publishers.items()):
                await self._refresh(owner, publisher)

    async def _refresh(self, owner: Key, publisher: Publisher) -> None:
        try:
            await publisher.refresh(self._host)
        except (CallError, TimeoutError) as error:
            if self._publishers.get(owner) is publisher:
                publisher.fail(f"avahi: {str(error) or 'no answer'}")
        except BusLost as lost:
            raise ProviderLost(f"bus: {lost}") from lost


def _host(name: str) -> Host:
    """Return this host as it is now; raises ``OSError``."""
    found = addresses.now()
    names: list[tuple[str, int]] = []
    for index in sorted({one.interface for one in found}):
        with suppress(OSError):  # it has just gone
            names.append((socket.if_indextoname(index), index))
    return Host(name, found, tuple(names))


async def _host_now(name: str) -> Host:
    """Return this host; try again until the kernel lists its addresses."""
    while True:
        try:
            return _host(name)
        except OSError as error:
            log.warning("can't read this host's addresses: %s; trying again", error)
            await asyncio.sleep(ADDRESS_RETRY)
