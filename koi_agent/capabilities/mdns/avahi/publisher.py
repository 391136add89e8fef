"""The records of one instance in Avahi: published, changed, renamed."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from koi_agent.capabilities.mdns.avahi.connections import Connections
from koi_agent.capabilities.mdns.avahi.entries import Host
from koi_agent.capabilities.mdns.avahi.entry_groups import EntryGroups, Missing
from koi_agent.capabilities.mdns.avahi.publication import Publication
from koi_agent.capabilities.mdns.records import MdnsRecord, Service
from koi_agent.core.contracts import Report
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key

RELEASE_PAUSE: Final = 0.05
"""Seconds that another instance may need to release a name."""
MOST_RENAMES: Final = 20
"""Names tried in a row before the record fails."""

Name = tuple[str, str]
"""A unique name: a service's and its type, or a host's and an empty string."""


class Publisher:
    """The records of ``owner``.

    ``release`` makes another instance release a name. It returns False if none has it.
    """

    def __init__(
        self,
        owner: Key,
        connections: Connections,
        groups: EntryGroups,
        report: Report,
        release: Callable[["Publisher", Name], Awaitable[bool]],
    ) -> None:
        self._owner = owner
        self._connections = connections
        self._groups = groups
        self._report = report
        self._release_elsewhere = release
        self._lock = asyncio.Lock()
        self._renamed: dict[Name, str] = {}
        self._publications: dict[tuple[Name, int], Publication] = {}

    async def put(self, records: Sequence[MdnsRecord], host: Host) -> None:
        """Publish exactly these records; those that are the same are not touched."""
        async with self._lock:
            wanted = dict(_keyed(records))
            for key in self._publications.keys() - wanted.keys():
                await self._publications[key].withdraw()
                del self._publications[key]
            for key, record in wanted.items():
                if key not in self._publications:
                    self._publications[key] = Publication(record, self._groups)
            self._publications = {key: self._publications[key] for key in wanted}
            await self._publish([(self._publications[key], wanted[key]) for key in wanted], host)
            if records:
                self._report_all()

    async def refresh(self, host: Host) -> None:
        """Publish again the records that depend on this host's addresses, if they differ."""
        if all(one.is_at(host) for one in self._publications.values()):
            return
        async with self._lock:
            publications = self._publications.values()
            moved = [(one, one.record) for one in publications if not one.is_at(host)]
            await self._publish(moved, host)
            self._report_all()

    async def _publish(self, records: Sequence[tuple[Publication, MdnsRecord]], host: Host) -> None:
        """Publish records, under other names if programs on this host have the first.

        Their groups are made together, with a single wait for Avahi.
        """
        for publication, record in records:
            if publication.is_collided:
                await self._rename(record)
        tried: set[Name] = set()
        for _ in range(MOST_RENAMES):
            missing: list[Missing] = []
            for publication, record in records:
                missing += await publication.replace(record, self._name(record)[0], host)
            await self._groups.make(missing, self._on_change)
            records = [each for each in records if not await each[0].settled()]
            if not records:
                return
            for record in {self._name(record): record for _, record in records}.values():
                await self._give_way(record, tried)
        for publication, _ in records:
            publication.fail("all names like it are taken on this host")

    async def _give_way(self, record: MdnsRecord, tried: set[Name]) -> None:
        """Make another instance release a name, or use the next name if it was tried before."""
        name = self._name(record)
        if await self._release_elsewhere(self, name):
            return
        if name in tried:
            await self._rename(record)
        tried.add(name)  # another instance may have released it since Avahi answered

    def _name(self, record: MdnsRecord) -> Name:
        """Return the name under which a record is published."""
        name, kind = _name_of(record)
        return self._renamed.get((name, kind), name), kind

    async def _rename(self, record: MdnsRecord) -> None:
        """Use the next name in Avahi's manner: ``web #2``, ``web-2.local``."""
        kind = "Service" if isinstance(record, Service) else "Host"
        known = self._renamed.get(_name_of(record), record.name)
        (name,) = await self._connections.call(f"GetAlternative{kind}Name", "s", known)
        self._renamed[_name_of(record)] = str(name)

    def has(self, name: Name) -> bool:
        """Return True if Avahi has the name from this instance."""
        return bool(list(self._with(name)))

    def _with(self, name: Name) -> Iterator[Publication]:
        for one in self._publications.values():
            if one.has_groups and (one.name, _name_of(one.record)[1]) == name:
                yield one

    async def release(self, name: Name) -> bool:
        """Withdraw the records with a name, unless they are being replaced already; return True.

        The plan has given the name to another instance, so these records are replaced soon.
        """
        if self._lock.locked():
            await asyncio.sleep(RELEASE_PAUSE)
            return True
        async with self._lock:
            for publication in self._with(name):
                await publication.withdraw()
                publication.fail("the name belongs to another instance now")
            self._report_all()
        return True

    def fail(self, reason: str) -> None:
        """Report all records as failed."""
        for publication in self._publications.values():
            publication.fail(reason)
        self._report_all()

    def _on_change(self) -> None:
        """Report the records when none of them waits: one report instead of one for each group."""
        statuses = self._statuses()
        waiting = any(one.state is RecordState.WANTED for one in statuses)
        failed = any(one.state is RecordState.FAILED for one in statuses)
        if not self._lock.locked() and (failed or not waiting):
            self._report(self._owner, statuses)

    def _report_all(self) -> None:
        self._report(self._owner, self._statuses())

    def _statuses(self) -> tuple[RecordStatus, ...]:
        return tuple(one.status() for one in self._publications.values())


def _keyed(records: Sequence[MdnsRecord]) -> Iterator[tuple[tuple[Name, int], MdnsRecord]]:
    """Yield records with the key by which a later version of each is found."""
    seen: Counter[Name] = Counter()
    for record in records:
        seen[_name_of(record)] += 1
        yield (_name_of(record), seen[_name_of(record)]), record


def _name_of(record: MdnsRecord) -> Name:
    return record.name, record.type if isinstance(record, Service) else ""
