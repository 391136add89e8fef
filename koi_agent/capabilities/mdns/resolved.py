"""systemd-resolved, over the system's bus (org.freedesktop.resolve1(5)): services, each by a name.

It knows this host's own name alone, so host names of instances are refused here, and services at
addresses of their own. What is registered outlives who did it: what a killed agent of ours left is
unregistered first. Our names begin with ``koi-`` and the number of our user: another user's agent
has others, which are not ours to clear away.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, Never
from xml.etree import ElementTree as ET

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.object_paths import decode, encode
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.bus.writer import BusLost
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ProviderRefused, ungrouped
from koi_agent.core.instance import Standing
from koi_agent.core.plan.records import Record, Service, Told

RESOLVED: Final = "org.freedesktop.resolve1"
MANAGER: Final = (RESOLVED, "/org/freedesktop/resolve1", f"{RESOLVED}.Manager")
SERVICES: Final = "/org/freedesktop/resolve1/dnssd"
SERVICE: Final = f"{RESOLVED}.DnssdService"
OURS: Final = f"koi-{os.getuid()}-"
"""How our names begin."""
LINKS: Final = "/org/freedesktop/resolve1/link"
LINK: Final = f"{RESOLVED}.Link"
MDNS: Final = 0x8 | 0x10
"""Scopes of a link on which mDNS is spoken: SD_RESOLVED_MDNS_IPV4 and _IPV6."""
GONE: Final = f"{RESOLVED}.NoSuchDnssdService"
NO_AUTO_START: Final = 2
WITHDRAWING: Final = 5.0
"""Seconds that withdrawing everything may take in the end."""


class Resolved:
    """The systemd-resolved on the bus at ``address``."""

    name = RESOLVED
    absence = "systemd-resolved with MulticastDNS=yes does not run"

    def __init__(self, address: str) -> None:
        self._address = address

    async def usable(self, link: Connection) -> bool:
        """Tell whether it speaks mDNS; it has to be started again to change its mind."""
        destination, path, interface = MANAGER
        return bool(await link.get(destination, path, interface, "MulticastDNS") == "yes")

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator["Session"]:
        """Clear away what is left of an earlier agent, and register; raises ``ProviderLost``."""
        async with AsyncExitStack() as stack:
            try:
                link = await stack.enter_async_context(connected(self._address))
                session = Session(link, report)
                await stack.enter_async_context(link.subscribed(session.subscription()))
                await session.clear()
            except TimeoutError as error:
                raise ProviderLost("systemd-resolved does not answer") from error
            except (BusLost, CallError) as error:
                raise ProviderLost(str(error)) from error
            stack.push_async_callback(session.end)
            yield session


class Session:
    """Our services in one life of systemd-resolved."""

    def __init__(self, link: Connection, report: Report) -> None:
        self._link = link
        self._report = report
        self._known = _Register()
        self._renamed: dict[tuple[str, str], int] = {}
        self._gone = asyncio.Event()
        self._speaks = False

    def subscription(self) -> Subscription:
        """Say what signals count: the word that somebody else has a name."""
        return Subscription(
            sender=RESOLVED,
            rules=(f"type='signal',sender='{RESOLVED}',interface='{SERVICE}'",),
            members=frozenset({(SERVICE, "Conflicted")}),
            deliver=self._take,
        )

    def _take(self, signals: Sequence[Signal | Changed]) -> None:
        for signal in signals:
            if not isinstance(signal, Signal):
                continue
            if signal.member == "NameOwnerChanged":
                self._gone.set()
            elif known := self._known.at(signal.path):
                self._make_way(signal.path, known)

    def _make_way(self, path: str, known: "_Known") -> None:
        """Have a service registered again under another name, for somebody else has this one."""
        place = known.service.name, known.service.type
        self._renamed[place] = known.number + 1
        self._known.put(path, replace(known, number=0))
        reason = "somebody else on the network has this name"
        self._report(known.key, [_told(known.service, known.name, Standing.FAILED, reason)])

    async def clear(self) -> None:
        """Unregister whatever has a name of ours."""
        await clear(self._link)

    async def _speak(self) -> None:
        """See that some link speaks mDNS, until one does; raises ``ProviderRefused``."""
        if self._speaks:
            return
        for name in await _below(self._link, LINKS):
            scopes = await self._link.get(RESOLVED, f"{LINKS}/{name}", LINK, "ScopesMask")
            self._speaks |= bool(scopes & MDNS)
        if not self._speaks:
            reason = "no link speaks mDNS (resolvectl mdns LINK yes)"
            raise ProviderRefused(f"systemd-resolved: {reason}")

    async def end(self) -> None:
        """Withdraw everything, if that can be done in time."""
        with suppress(BusLost, CallError, TimeoutError):
            async with asyncio.timeout(WITHDRAWING):
                await self.clear()

    async def put(self, key: str, records: Sequence[Record]) -> None:
        """Register exactly these services of an owner; raises ``ProviderRefused``."""
        try:
            wanted = {_path(record): record for record in records if isinstance(record, Service)}
            for path, known in self._known.of(key):
                if path not in wanted:
                    self._renamed.pop((known.service.name, known.service.type), None)
                if known.service != wanted.get(path) or not known.number:
                    await unregister(self._link, path)
                    self._known.remove(path)
            if records:
                await self._speak()
            told = [await self._registered(key, record) for record in records]
        except CallError as error:
            raise ProviderRefused(f"systemd-resolved: {error}") from error
        except BusLost as lost:
            raise ProviderLost(f"bus: {lost}") from lost
        if records:
            self._report(key, told)

    async def _registered(self, key: str, record: Record) -> Told:
        if not isinstance(record, Service):
            reason = "systemd-resolved publishes no host name but this host's own"
            return _told(record, record.name, Standing.REFUSED, reason)
        if record.addresses:
            reason = "systemd-resolved announces what is at this host's own addresses alone"
            return _told(record, record.name, Standing.REFUSED, reason)
        path = _path(record)
        known = self._known.at(path) or await self._register(key, record, path)
        return _told(record, known.name, Standing.ANNOUNCED, "; ".join(_lacking(known)))

    async def _register(self, key: str, service: Service, path: str) -> "_Known":
        """Register a service, under a name that no other of ours has.

        It is noted before it is asked for: an answer that does not come in time may yet be yes.
        """
        number = self._renamed.get((service.name, service.type), 1)
        while self._known.has(_numbered(service.name, number), service.type):
            number += 1
        known = _Known(key, service, number)
        self._known.put(path, replace(known, number=0))
        await unregister(self._link, path)  # what an answer that came too late may have left
        txt = {field: value.encode() for field, value in service.txt}
        body = (
            decode(path.rpartition("/")[2]),
            known.name.replace("%", "%%"),  # else a specifier (systemd.dnssd(5))
            service.type,
            service.port,
            0,
            0,
            [txt] if txt else [],
        )
        signature, flags = "sssqqqaa{say}", NO_AUTO_START
        await self._link.call(MANAGER, "RegisterService", signature, body, flags=flags)
        self._known.put(path, known)
        return known

    async def run(self) -> Never:
        """Wait for the end; raises ``ProviderLost``."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._end_with_resolved(), name="resolved: name")
                group.create_task(self._end_with_bus(), name="resolved: bus")
        raise AssertionError("a session ends by losing its provider")

    async def _end_with_resolved(self) -> None:
        await self._gone.wait()
        raise ProviderLost("systemd-resolved ended")

    async def _end_with_bus(self) -> None:
        raise ProviderLost(f"bus: {await self._link.wait_closed()}")


@dataclass(frozen=True, slots=True)
class _Known:
    """A service as it is registered: with which number, 0 if nobody knows whether it is."""

    key: str
    service: Service
    number: int

    @property
    def name(self) -> str:
        return _numbered(self.service.name, self.number)


class _Register:
    """What is registered, found by path, by owner and by name, however much it is."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._paths: dict[str, set[str]] = {}
        self._names: Counter[tuple[str, str]] = Counter()

    def at(self, path: str) -> _Known | None:
        return self._known.get(path)

    def of(self, key: str) -> list[tuple[str, _Known]]:
        return [(path, self._known[path]) for path in sorted(self._paths.get(key, ()))]

    def has(self, name: str, kind: str) -> bool:
        return self._names[name, kind] > 0

    def put(self, path: str, known: _Known) -> None:
        self.remove(path)
        self._known[path] = known
        self._paths.setdefault(known.key, set()).add(path)
        self._names[known.name, known.service.type] += 1

    def remove(self, path: str) -> None:
        """Forget what is at a path, if anything is."""
        if (known := self._known.pop(path, None)) is None:
            return
        self._names[known.name, known.service.type] -= 1
        if not self._names[known.name, known.service.type]:
            del self._names[known.name, known.service.type]
        self._paths[known.key].discard(path)
        if not self._paths[known.key]:
            del self._paths[known.key]


def _numbered(name: str, number: int) -> str:
    return f"{name} #{number}" if number > 1 else name


def _lacking(known: _Known) -> Iterator[str]:
    """Say what is not as it was asked for."""
    if known.number > 1:
        yield f"'{known.service.name}' is somebody else's"
    if known.service.subtypes:
        yield "systemd-resolved knows no subtypes"


def _path(service: Service) -> str:
    """Tell the path of a service's object: one that is registered again is the same."""
    said = f"{service.owner} {service.type} {service.port} {service.name}"
    return f"{SERVICES}/{encode(OURS + sha256(said.encode()).hexdigest()[:16])}"


async def clear(link: Connection) -> None:
    """Unregister whatever has a name of ours."""
    for name in await _below(link, SERVICES):
        if decode(name).startswith(OURS):
            await unregister(link, f"{SERVICES}/{name}")


async def unregister(link: Connection, path: str) -> None:
    """Unregister a service; it may have gone already."""
    try:
        await link.call(MANAGER, "UnregisterService", "o", (path,), flags=NO_AUTO_START)
    except CallError as error:
        if error.name != GONE:
            raise


async def _below(link: Connection, path: str) -> list[str]:
    """Name the objects right below a path, as they are spelled there."""
    target = (RESOLVED, path, "org.freedesktop.DBus.Introspectable")
    (text,) = await link.call(target, "Introspect", flags=NO_AUTO_START)
    return [node.get("name", "") for node in ET.fromstring(text).findall("node")]  # noqa: S314


def _told(record: Record, name: str, status: Standing, reason: str = "") -> Told:
    title = replace(record, name=name).title
    return Told(name=title, status=status, provider="resolved", reason=reason)
