"""The session with systemd-resolved, over the system bus (org.freedesktop.resolve1(5)).

It publishes services at this host's own addresses only, on all interfaces. Host names of instances
and services at other addresses or on some interfaces are refused.

systemd 262 and later withdraw the services of a client when its bus connection ends. Therefore,
one connection lasts as long as the session, and a lost one ends the session: all services are
registered again. Before 262 a service outlives its client, so a session first unregisters what a
killed agent left. The identifiers begin with ``koi-`` and the uid: those of another user's agent
are not touched.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from typing import Final, Never
from xml.etree import ElementTree as ET

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.object_paths import decode, encode
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.bus.writer import BusLost
from koi_agent.capabilities.mdns.bus_names import RESOLVED_MANAGER
from koi_agent.capabilities.mdns.records import MdnsRecord, Service
from koi_agent.capabilities.mdns.registrations import Registration, Registrations
from koi_agent.capabilities.mdns.service_names import numbered
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ProviderRefused, ungrouped
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.resolver import RESOLVED
from koi_agent.timeouts import timeout

SERVICES: Final = "/org/freedesktop/resolve1/dnssd"
SERVICE: Final = f"{RESOLVED}.DnssdService"
PREFIX: Final = f"koi-{os.getuid()}-"
"""Prefix of this agent's identifiers."""
LINKS: Final = "/org/freedesktop/resolve1/link"
LINK: Final = f"{RESOLVED}.Link"
MDNS: Final = 0x8 | 0x10
"""Scopes of a link with mDNS: SD_RESOLVED_MDNS_IPV4 and _IPV6."""
GONE: Final = f"{RESOLVED}.NoSuchDnssdService"
NO_AUTO_START: Final = 2
CLOSE_TIMEOUT: Final = 5.0
"""Seconds that withdrawing all services may take when a session ends."""


@asynccontextmanager
async def connected_session(address: str, report: Report) -> AsyncIterator["Session"]:
    """Connect to a bus, and unregister what an earlier agent left; raise ``ProviderLost``."""
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(connected(address))
            session = Session(connection, report)
            await stack.enter_async_context(connection.subscribed(session.subscription()))
            await session.clear()
        except TimeoutError as error:
            raise ProviderLost("systemd-resolved does not answer") from error
        except (BusLost, CallError) as error:
            raise ProviderLost(str(error)) from error
        stack.push_async_callback(session.end)
        yield session


class Session:
    """The agent's services in one run of systemd-resolved."""

    def __init__(self, connection: Connection, report: Report) -> None:
        self._connection = connection
        self._report = report
        self._registered = Registrations()
        self._renamed: dict[tuple[str, str], int] = {}
        self._lost = asyncio.Event()
        self._has_link = False

    def subscription(self) -> Subscription:
        """Return the subscription to the signal that another host has a name."""
        return Subscription(
            sender=RESOLVED,
            rules=(f"type='signal',sender='{RESOLVED}',interface='{SERVICE}'",),
            members=frozenset({(SERVICE, "Conflicted")}),
            deliver=self._on_signals,
        )

    def _on_signals(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if not isinstance(signal, Signal):
                continue
            if signal.member == "NameOwnerChanged":
                self._lost.set()
            elif known := self._registered.at(signal.path):
                self._on_conflict(signal.path, known)

    def _on_conflict(self, path: str, known: Registration) -> None:
        """Report a service as failed, so that it is registered again under another name."""
        self._renamed[known.service.name, known.service.type] = known.number + 1
        self._registered.put(path, replace(known, number=0))
        reason = "another host on the network has this name"
        status = _status(known.service, known.name, RecordState.FAILED, reason)
        self._report(known.owner, [status])

    async def clear(self) -> None:
        """Unregister all services of this agent."""
        await clear(self._connection)

    async def _require_link(self) -> None:
        """Check that a link has mDNS enabled; raise ``ProviderRefused``."""
        if self._has_link:
            return
        for name in await _children(self._connection, LINKS):
            scopes = await self._connection.get(RESOLVED, f"{LINKS}/{name}", LINK, "ScopesMask")
            self._has_link |= bool(scopes & MDNS)
        if not self._has_link:
            reason = "mDNS is enabled on no link; try: resolvectl mdns LINK yes"
            raise ProviderRefused(f"systemd-resolved: {reason}")

    async def end(self) -> None:
        """Withdraw all services, if that is possible in time."""
        with suppress(BusLost, CallError, TimeoutError):
            async with timeout(CLOSE_TIMEOUT):
                await self.clear()

    async def put(self, owner: Key, records: Sequence[MdnsRecord]) -> None:
        """Register exactly these services of an owner; raise ``ProviderRefused``."""
        try:
            wanted = {_path(record): record for record in records if isinstance(record, Service)}
            for path, known in self._registered.of(owner):
                if path not in wanted:
                    self._renamed.pop((known.service.name, known.service.type), None)
                if known.service != wanted.get(path) or not known.number:
                    await unregister(self._connection, path)
                    self._registered.remove(path)
            if records:
                await self._require_link()
            status = [await self._ensure(owner, record) for record in records]
        except CallError as error:
            raise ProviderRefused(f"systemd-resolved: {error}") from error
        except BusLost as lost:
            raise ProviderLost(f"bus: {lost}") from lost
        if records:
            self._report(owner, status)

    async def _ensure(self, owner: Key, record: MdnsRecord) -> RecordStatus:
        if not isinstance(record, Service):
            reason = "systemd-resolved publishes only this host's own host name"
            return _status(record, record.name, RecordState.REFUSED, reason)
        if record.addresses:
            reason = "systemd-resolved announces only services at this host's own addresses"
            return _status(record, record.name, RecordState.REFUSED, reason)
        if record.interfaces:
            reason = "systemd-resolved announces services on all interfaces"
            text = f"{reason}, not only on {', '.join(record.interfaces)}"
            return _status(record, record.name, RecordState.REFUSED, text)
        path = _path(record)
        known = self._registered.at(path) or await self._register(owner, record, path)
        return _status(record, known.name, RecordState.ANNOUNCED, "; ".join(_limits(known)))

    async def _register(self, owner: Key, service: Service, path: str) -> Registration:
        """Register a service under a name that no other service of this agent has.

        It is stored before the call: a call that times out may still succeed.
        """
        number = self._renamed.get((service.name, service.type), 1)
        while self._registered.has(numbered(service.name, number), service.type):
            number += 1
        known = Registration(owner, service, number)
        self._registered.put(path, replace(known, number=0))
        await unregister(self._connection, path)  # a call that timed out may have registered it
        txt = {field: value.encode() for field, value in service.txt}
        body = (
            decode(path.rpartition("/")[2]),
            known.name.replace("%", "%%"),  # otherwise, a specifier (systemd.dnssd(5))
            service.type,
            service.port,
            0,
            0,
            [txt] if txt else [],
        )
        signature, flags = "sssqqqaa{say}", NO_AUTO_START
        await self._connection.call(
            RESOLVED_MANAGER, "RegisterService", signature, body, flags=flags
        )
        self._registered.put(path, known)
        return known

    async def run(self) -> Never:
        """Wait until resolved or the bus is lost; raise ``ProviderLost``."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._end_with_resolved(), name="resolved: name")
                group.create_task(self._end_with_bus(), name="resolved: bus")
        raise AssertionError("a session ends when its provider is lost")

    async def _end_with_resolved(self) -> None:
        await self._lost.wait()
        raise ProviderLost("systemd-resolved ended")

    async def _end_with_bus(self) -> None:
        raise ProviderLost(f"bus: {await self._connection.wait_closed()}")


def _limits(known: Registration) -> Iterator[str]:
    """Yield the differences from the request."""
    if known.number > 1:
        yield f"'{known.service.name}' belongs to another host"
    if known.service.subtypes:
        yield "systemd-resolved does not support subtypes"


def _path(service: Service) -> str:
    """Return the object path of a service, which stays the same when it is registered again."""
    text = f"{service.owner} {service.type} {service.port} {service.name}"
    return f"{SERVICES}/{encode(PREFIX + sha256(text.encode()).hexdigest()[:16])}"


async def clear(connection: Connection) -> None:
    """Unregister all services of this agent."""
    for name in await _children(connection, SERVICES):
        if decode(name).startswith(PREFIX):
            await unregister(connection, f"{SERVICES}/{name}")


async def unregister(connection: Connection, path: str) -> None:
    """Unregister a service, which may be gone already."""
    try:
        await connection.call(
            RESOLVED_MANAGER, "UnregisterService", "o", (path,), flags=NO_AUTO_START
        )
    except CallError as error:
        if error.name != GONE:
            raise


async def _children(connection: Connection, path: str) -> list[str]:
    """Return the last elements of the object paths directly below a path."""
    target = (RESOLVED, path, "org.freedesktop.DBus.Introspectable")
    (text,) = await connection.call(target, "Introspect", flags=NO_AUTO_START)
    return [node.get("name", "") for node in ET.fromstring(text).findall("node")]  # noqa: S314


def _status(record: MdnsRecord, name: str, state: RecordState, reason: str = "") -> RecordStatus:
    title = replace(record, name=name).title
    return RecordStatus(name=title, state=state, provider="resolved", reason=reason)
