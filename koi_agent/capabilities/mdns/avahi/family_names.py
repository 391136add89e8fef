"""Host names with this host's addresses of one family, for services that have only that family."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Never

from koi_agent.bus.client import CallError
from koi_agent.bus.writer import BusLost
from koi_agent.capabilities.mdns.avahi.connections import Connections
from koi_agent.capabilities.mdns.avahi.entries import Host, family_name
from koi_agent.capabilities.mdns.avahi.entry_groups import EntryGroups
from koi_agent.capabilities.mdns.avahi.publisher import Name, Publisher
from koi_agent.capabilities.mdns.records import HostName, MdnsRecord, Service
from koi_agent.core.backoff import pauses
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key

log = logging.getLogger(__name__)

OWNER: Final = Key("host", "families")
"""The owner of these names, which belong to no instance."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
"""Seconds between attempts to publish the names."""


class FamilyNames:
    """The names that services need. They are published once for any number of services."""

    def __init__(self, connections: Connections, groups: EntryGroups) -> None:
        self.host = Host()
        self._publisher = Publisher(OWNER, connections, groups, self._on_report, _none_releases)
        self._users: Counter[int] = Counter()
        self._known: dict[Key, frozenset[int]] = {}
        self._changed = asyncio.Event()
        self._trouble = ""

    def use(self, owner: Key, records: Sequence[MdnsRecord]) -> None:
        """Set the records of an owner, whose families have names from now on."""
        families = frozenset(_families(records))
        before = self._known.pop(owner, frozenset())
        if families:
            self._known[owner] = families
        had = set(+self._users)
        self._users.update(families)
        self._users.subtract(before)
        if set(+self._users) != had:
            self._changed.set()

    def set_host(self, host: Host) -> None:
        """Set the name and the addresses of this host."""
        self.host = host
        self._changed.set()

    def _on_report(self, _owner: Key, statuses: Sequence[RecordStatus]) -> None:
        failed = [one for one in statuses if one.state is RecordState.FAILED]
        self._trouble = "; ".join(f"{one.name}: {one.reason}" for one in failed)
        if failed:
            self._changed.set()

    async def run(self) -> Never:
        """Publish the names and try again what fails; raise ``ProviderLost``."""
        waits = pauses(FIRST_RETRY, LONGEST_RETRY)
        while True:
            await self._changed.wait()
            if self._trouble:
                log.warning("avahi: %s; trying again", self._trouble)
                await asyncio.sleep(next(waits))
            else:
                waits = pauses(FIRST_RETRY, LONGEST_RETRY)
            self._changed.clear()
            try:
                await self._publisher.put(self._records(), self.host)
            except (CallError, TimeoutError) as error:
                self._trouble = str(error) or "no answer"
                self._changed.set()
            except BusLost as lost:
                raise ProviderLost(f"bus: {lost}") from lost

    def _records(self) -> list[MdnsRecord]:
        return [
            HostName(owner=OWNER, name=family_name(self.host.name, family), family=family)
            for family in sorted(+self._users)
        ]


def _families(records: Iterable[MdnsRecord]) -> Iterable[int]:
    """Yield the families of the services that need a name for one."""
    for record in records:
        if isinstance(record, Service) and record.family and not record.addresses:
            yield record.family


async def _none_releases(_publisher: Publisher, _name: Name) -> bool:
    """Return False: addresses of one name never collide on this host."""
    return False
