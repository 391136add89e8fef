"""avahi-daemon, over the system's bus: one entry group for each instance.

All groups of a connection go with it, by Avahi's own doing: so nothing stays on the network when
the agent ends, however it ends. A connection may have 1024 groups, so there are as many
connections as it takes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
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
    Place,
)
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ProviderRefused, ungrouped
from koi_agent.core.plan.records import Record
from koi_agent.host import addresses
from koi_agent.host.addresses import Addresses, HostAddress

log = logging.getLogger(__name__)

RUNNING: Final = 2
"""Avahi's AVAHI_SERVER_RUNNING: it has a host name that nobody else has."""
MOST_GROUPS: Final = 1000
"""Groups of one connection: Avahi's objects-per-client-max is 1024."""
AGAIN: Final = 5.0
"""Seconds until the kernel is asked again for addresses that it did not tell."""
SETTLING: Final = 1.0
"""Seconds from one change of the host's addresses until they are looked at: they come in flocks."""


class Avahi:
    """The avahi-daemon on the bus at ``address``."""

    name = AVAHI
    absence = "avahi-daemon does not run"

    def __init__(self, address: str) -> None:
        self._address = address

    async def usable(self, _link: Connection) -> bool:
        """Tell that it is of use whenever it is there."""
        return True

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator["Session"]:
        """Publish through Avahi once it has its name; raises ``ProviderLost``."""
        async with AsyncExitStack() as stack:
            try:
                watch = Addresses()
                stack.callback(watch.close)
                session = Session(self._address, stack, report, watch)
                await session.open()
            except TimeoutError as error:
                raise ProviderLost("avahi-daemon does not answer") from error
            except (BusLost, CallError, OSError) as error:
                raise ProviderLost(str(error)) from error
            yield session


class Session:
    """Our groups in one life of avahi-daemon."""

    def __init__(
        self, address: str, stack: AsyncExitStack, report: Report, watch: Addresses
    ) -> None:
        self._address = address
        self._stack = stack
        self._report = report
        self._watch = watch
        self._links: dict[Connection, int] = {}  # with the number of groups on each
        self._grown = asyncio.Event()
        self._groups: dict[str, Group] = {}
        self._by_path: dict[str, Group] = {}
        self._host = Host()
        self._moved = asyncio.Event()
        self._connecting = asyncio.Lock()

    async def open(self) -> None:
        """Wait until Avahi has a host name; raises ``CallError`` where it is gone."""
        link = await self._connect()
        while not await self._running(link):
            await self._news()
        (name,) = await link.call(SERVER, "GetHostName", flags=NO_AUTO_START)
        self._host = Host(str(name), addresses.now())

    async def _news(self) -> None:
        """Wait until Avahi comes or goes, or is something else than before."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                lost = group.create_task(self._end_with_bus(), name="avahi: bus")
                await self._moved.wait()
                lost.cancel()

    async def _connect(self) -> Connection:
        """Open one more connection."""
        link = await self._stack.enter_async_context(connected(self._address))
        await self._stack.enter_async_context(link.subscribed(self._subscription()))
        self._links[link] = 0
        self._grown.set()
        return link

    def _subscription(self) -> Subscription:
        """Say what signals count; Avahi tells of groups their owner alone, without a rule."""
        _, path, interface = SERVER
        rule = f"type='signal',sender='{AVAHI}',interface='{interface}',path='{path}'"
        return Subscription(
            sender=AVAHI,
            rules=() if self._links else (rule + ",member='StateChanged'",),
            members=frozenset({(interface, "StateChanged"), (GROUP, "StateChanged")}),
            deliver=self._take,
        )

    async def _running(self, link: Connection) -> bool:
        self._moved.clear()
        (state,) = await link.call(SERVER, "GetState", flags=NO_AUTO_START)
        return bool(state == RUNNING)

    def _take(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if not isinstance(signal, Signal):
                continue
            group = self._by_path.get(signal.path)
            if signal.interface == GROUP and group:
                state, _error = signal.body
                group.moved(int(state))
            elif signal.interface != GROUP:
                self._moved.set()

    async def put(self, key: str, records: Sequence[Record]) -> None:
        """Publish exactly these records of an owner; raises ``ProviderRefused``."""
        try:
            group = self._groups.get(key)
            if records:
                group = group or await self._new(key)
                await group.publish(records, self._host)
            elif group:
                await group.free()
                del self._groups[key], self._by_path[group.path]
                self._links[group.link] -= 1
        except CallError as error:
            raise ProviderRefused(f"avahi: {error}") from error
        except BusLost as lost:
            raise ProviderLost(f"bus: {lost}") from lost

    async def _new(self, key: str) -> Group:
        async with self._connecting:
            roomy = (link for link, groups in self._links.items() if groups < MOST_GROUPS)
            link = next(roomy, None) or await self._connect()
            self._links[link] += 1
        try:
            (path,) = await link.call(SERVER, "EntryGroupNew", flags=NO_AUTO_START)
        except CallError:
            self._links[link] -= 1
            raise
        group = Group(link, str(path), key, self._report, self._made_way)
        self._groups[key] = self._by_path[group.path] = group
        return group

    async def _made_way(self, group: Group, place: Place) -> bool:
        """Have another group of ours give up a name, which it has no more by plan."""
        for other in list(self._groups.values()):
            if other is not group and other.has(place):
                return await other.give_way()
        return False

    async def run(self) -> Never:
        """Follow the host's addresses; raises ``ProviderLost`` at the end."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._end_with_avahi(), name="avahi: name")
                group.create_task(self._end_with_bus(), name="avahi: bus")
                group.create_task(self._follow_addresses(), name="avahi: addresses")
        raise AssertionError("a session ends by losing its provider")

    async def _end_with_avahi(self) -> None:
        await self._moved.wait()
        raise ProviderLost("avahi-daemon ended, or takes another host name")

    async def _end_with_bus(self) -> Never:
        """Watch every connection: with one of them, its groups are gone."""
        watched: set[Connection] = set()
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                while True:
                    self._grown.clear()
                    for link in self._links.keys() - watched:
                        group.create_task(_end_with(link), name="avahi: connection")
                    watched |= self._links.keys()
                    await self._grown.wait()
        raise AssertionError("it ends by raising")

    async def _follow_addresses(self) -> None:
        """Publish host names anew when this host has other addresses."""
        while True:
            await self._watch.changed()
            await asyncio.sleep(SETTLING)
            host = replace(self._host, addresses=await _addresses())
            if host == self._host:
                continue
            self._host = host
            log.debug("this host has other addresses now")
            for key, group in list(self._groups.items()):
                await self._refresh(key, group)

    async def _refresh(self, key: str, group: Group) -> None:
        try:
            await group.refresh(self._host)
        except (CallError, TimeoutError) as error:
            if self._groups.get(key) is group:
                group.fail(f"avahi: {str(error) or 'no answer'}")
        except BusLost as lost:
            raise ProviderLost(f"bus: {lost}") from lost


async def _addresses() -> tuple[HostAddress, ...]:
    """Tell the host's addresses as soon as the kernel does."""
    while True:
        try:
            return addresses.now()
        except OSError as error:
            log.warning("can't read this host's addresses: %s; trying again", error)
            await asyncio.sleep(AGAIN)


async def _end_with(link: Connection) -> Never:
    raise ProviderLost(f"bus: {await link.wait_closed()}")
