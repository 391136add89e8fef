"""The services at a Koi daemon, each with a lease that is renewed.

A daemon announces services at its own host name, on all interfaces. An address in a request would
become one of the host's, for all services. So none is sent, and host names are refused. Two
services with one name are a single one on the network: the end of one withdraws both.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import uniform
from typing import Final, Never

from koi_agent.bus.address import address
from koi_agent.bus.end import ends_for_good
from koi_agent.capabilities.mdns.records import MdnsRecord, Service
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.instance import RecordState
from koi_agent.core.key import Key
from koi_agent.host.koi_daemon.daemon import Daemon, Refused, Uncertain, segment
from koi_agent.host.koi_daemon.kinds import LEASE, MDNS, Outcome, service_key, text_of
from koi_agent.host.koi_daemon.session import Entry, KoiSession, Plan, Recorded, keeping
from koi_agent.host.koi_daemon.settings import KoiSettings
from koi_agent.timeouts import set_before

RENEWAL: Final = "/v1/mdns/heartbeat"
PERIOD: Final = LEASE / 3
"""Maximum seconds between two renewals of all leases."""
LONGEST_NAME: Final = 63
"""Bytes of a service name (RFC 6763 section 4.1.1)."""
_TYPE: Final = re.compile(r"_[A-Za-z0-9-]{1,15}\._(tcp|udp)")
NO_SUBTYPES: Final = "a Koi daemon does not support subtypes"


def plan(records: Mapping[Key, Sequence[MdnsRecord]]) -> Plan:
    """Return the entries of services; all other records have none."""
    bodies: dict[str, str] = {}
    entries: dict[Key, list[Entry]] = {}
    for owner, of_owner in records.items():
        entries[owner] = []
        for record in of_owner:
            reason = _refusal(record)
            if reason or not isinstance(record, Service):
                outcome = Outcome(RecordState.REFUSED, reason)
                entries[owner].append(Entry(title=record.title, outcome=outcome))
                continue
            body = _body(record)
            key = service_key(body)
            bodies[key] = text_of(body)
            note = NO_SUBTYPES if record.subtypes else ""
            entries[owner].append(Entry(title=record.title, key=key, note=note))
    return Plan(bodies=bodies, entries=entries)


def _body(service: Service) -> Mapping[str, object]:
    return {
        "name": service.name,
        "type": service.type,
        "port": service.port,
        "txt": dict(service.txt),
    }


def _refusal(record: MdnsRecord) -> str:
    """Return why a record is not sent, "" if it is."""
    if not isinstance(record, Service):
        return "a Koi daemon announces services, and no host name but that of its host"
    if record.addresses:
        return "a Koi daemon announces only services at this host's own addresses"
    if record.interfaces:
        where = ", ".join(record.interfaces)
        return f"a Koi daemon announces services on all interfaces, not only on {where}"
    if not 0 < len(record.name.encode("utf-8", "replace")) <= LONGEST_NAME:
        return f"a Koi daemon needs a name of 1 to {LONGEST_NAME} bytes"
    if not {".", "\\"}.isdisjoint(record.name):
        return "a Koi daemon can't withdraw a service whose name has a dot or a backslash"
    if not _TYPE.fullmatch(record.type) or not 0 < record.port < 65536:
        return "a Koi daemon does not accept its type or its port"
    return ""


class MdnsSession:
    """The services in one run of a daemon, and the renewal of their leases."""

    def __init__(self, session: KoiSession[MdnsRecord]) -> None:
        self._session = session
        self._known: set[str] = set()

    async def put(self, owner: Key, records: Sequence[MdnsRecord]) -> None:
        await self._session.put(owner, records)

    def complete(self) -> None:
        self._session.complete()

    async def run(self) -> Never:
        """Send services and renew their leases, until cancelled; raise ``ProviderLost``."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._session.run(), name="Koi services")
                await self._renew()
        raise AssertionError("leases are renewed until the task is cancelled")

    async def _renew(self) -> Never:
        """Renew all leases at a third of their time, and those of a killed agent at once."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await set_before(self._session.passed, due if self._known else None)
            self._session.passed.clear()
            handles = {one.handle for one in self._session.keeper.present.values()}
            is_due = due <= loop.time()
            for handle in handles if is_due else handles - self._known:
                await self._renew_one(handle)
            self._known = handles
            if is_due or not handles:
                due = loop.time() + uniform(0.8, 1) * PERIOD  # noqa: S311 - jitter

    async def _renew_one(self, handle: str) -> None:
        """Renew a lease; one that is over is compared, and announced again."""
        daemon = self._session.daemon
        try:
            await daemon.send("PUT", f"{RENEWAL}/{segment(handle)}")
        except Uncertain as error:
            raise daemon.lost(str(error)) from error
        except Refused:
            self._session.wake()


@asynccontextmanager
async def announcing(settings: KoiSettings, report: Report) -> AsyncIterator[MdnsSession]:
    """Announce services until the context is left; raise ``ProviderLost``."""

    async def planner(
        _daemon: Daemon, records: Mapping[Key, Sequence[MdnsRecord]], _recorded: Recorded
    ) -> Plan:
        return plan(records)

    async def ends() -> bool:
        return await ends_for_good(address(settings.scope))

    async with keeping(settings, MDNS, planner, report, ends) as session:
        yield MdnsSession(session)
