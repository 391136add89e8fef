"""One record in Avahi: its groups, its name and its status."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from koi_agent.bus.client import CallError
from koi_agent.capabilities.mdns.avahi.entries import (
    EVERY,
    Composed,
    Host,
    Part,
    ServiceEntry,
    compose,
)
from koi_agent.capabilities.mdns.avahi.entry_groups import (
    EntryGroup,
    EntryGroups,
    GroupState,
    Missing,
)
from koi_agent.capabilities.mdns.bus_names import AVAHI
from koi_agent.capabilities.mdns.records import MdnsRecord
from koi_agent.core.instance import RecordState, RecordStatus

LOCAL_COLLISION: Final = f"{AVAHI}.CollisionError"
PERMANENT: Final = ("Invalid", "NotSupported", "NotPermitted", "TooMany")
"""Prefixes of the Avahi errors that repeat with each attempt."""


class Publication:
    """A record of an instance.

    Methods raise ``CallError``, ``BusLost`` and ``TimeoutError``.
    """

    def __init__(self, record: MdnsRecord, groups: EntryGroups) -> None:
        self.record = record
        self.name = record.name
        self._all = groups
        self._groups: dict[Part, EntryGroup] = {}
        self._composed = Composed()
        self._failure = ""

    @property
    def has_groups(self) -> bool:
        """True while Avahi has a group for the record."""
        return bool(self._groups)

    @property
    def is_collided(self) -> bool:
        """True if another host on the network has the name."""
        return any(group.state is GroupState.COLLIDED for group in self._groups.values())

    def is_at(self, host: Host) -> bool:
        """Return True if the record has the groups that this host's addresses need."""
        return compose(self.record, self.name, host).parts == self._composed.parts

    async def replace(self, record: MdnsRecord, name: str, host: Host) -> Sequence[Missing]:
        """Replace the record; groups that stay the same are not touched.

        Returns the parts that need a group, for ``EntryGroups.make``.
        """
        self.record, self.name, self._failure = record, name, ""
        self._composed = composed = compose(record, name, host)
        for part in composed.parts:
            await self._change_text(part)
        await self._free(self._stale(host))
        return [(part, self._groups) for part in composed.parts if part not in self._groups]

    async def settled(self) -> bool:
        """Return False, and free all groups, if another program on this host has the name."""
        collided = any(
            one.error and one.error.name == LOCAL_COLLISION for one in self._groups.values()
        )
        if collided:
            await self._free(list(self._groups.values()))
        return not collided

    async def _change_text(self, part: Part) -> None:
        group = self._groups.get(part)
        if group and group.is_alive and _texts(group.part) != _texts(part):
            await self._all.change_text(group, part)

    async def withdraw(self) -> None:
        """Free all groups."""
        await self._free(list(self._groups.values()))

    def _stale(self, host: Host) -> list[EntryGroup]:
        """Return the groups to free: all if a goodbye would be missing on an interface."""
        wanted = set(self._composed.parts)
        stale = [
            one for part, one in self._groups.items() if part not in wanted or not one.is_alive
        ]
        present = {index for _, index in host.interfaces}
        if any(_interface_of(one) in present for one in stale):
            return list(self._groups.values())
        return stale

    async def _free(self, groups: list[EntryGroup]) -> None:
        """Free groups. Avahi says no goodbye of a record that another group has elsewhere."""
        limited = [one.part for one in groups if one.is_alive and _interface_of(one)]
        await self._all.free(groups)
        for group in groups:
            self._groups.pop(group.part, None)
        for part in limited[:-1]:
            farewell: dict[Part, EntryGroup] = {}
            await self._all.make([(part, farewell)], _ignore)
            await self._all.free(list(farewell.values()))

    def fail(self, reason: str) -> None:
        """Count the record as failed until it is put again."""
        self._failure = reason

    def status(self) -> RecordStatus:
        """Return the status of the record."""
        state, reason = self._state()
        renamed = ""
        if self.name != self.record.name:
            renamed = f"'{self.record.name}' belongs to another host"
        title = replace(self.record, name=self.name).title
        reasons = "; ".join(filter(None, (renamed, reason)))
        return RecordStatus(name=title, state=state, provider="avahi", reason=reasons)

    def _state(self) -> tuple[RecordState, str]:
        if self._failure:
            return RecordState.FAILED, self._failure
        if not self._composed.parts:
            return self._composed.state, self._composed.reason
        groups = self._groups.values()
        if errors := [group.error for group in groups if group.error]:
            return _state_of(errors[0]), str(errors[0])
        if lost := [group for group in groups if not group.is_alive]:
            return RecordState.FAILED, lost[0].reason
        missing = "".join(group.missing for group in groups).removeprefix("; ")
        if all(group.state is GroupState.ESTABLISHED for group in groups):
            return RecordState.ANNOUNCED, missing
        return RecordState.WANTED, missing


def _interface_of(group: EntryGroup) -> int:
    """Return the interface to which a service is limited; 0 for none and for addresses."""
    first = group.part[0]
    return first.interface if isinstance(first, ServiceEntry) and first.interface != EVERY else 0


def _ignore() -> None:
    """Do nothing with the state of a group that is freed at once."""


def _texts(part: Part) -> list[object]:
    return [getattr(entry, "txt", None) for entry in part]


def _state_of(error: CallError) -> RecordState:
    permanent = error.name.removeprefix(f"{AVAHI}.").startswith(PERMANENT)
    return RecordState.REFUSED if permanent else RecordState.FAILED
