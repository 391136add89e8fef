"""The records of one instance as one entry group of Avahi: published, changed, renamed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from koi_agent.bus.client import CALL_TIMEOUT, CallError, Connection
from koi_agent.bus.writer import BusLost
from koi_agent.capabilities.mdns.avahi.entries import AVAHI, DOMAIN, EVERY, Entries, Host, text_of
from koi_agent.capabilities.mdns.records import HostName, MdnsRecord, Service
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ungrouped
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key

SERVER: Final = (AVAHI, "/", f"{AVAHI}.Server")
GROUP: Final = f"{AVAHI}.EntryGroup"
LOCAL_COLLISION: Final = f"{AVAHI}.CollisionError"
PERMANENT: Final = ("Invalid", "NotSupported", "NotPermitted", "TooMany")
"""Prefixes of the Avahi errors that repeat with each attempt."""
RELEASE_PAUSE: Final = 0.05
"""Seconds that another group may need to release a name."""
NO_AUTO_START: Final = 2
"""Call flag NO_AUTO_START: the administrator decides whether avahi-daemon runs."""

NO_ADDRESS: Final = 8
"""AVAHI_LOOKUP_NO_ADDRESS."""
ESTABLISHED, COLLISION, FAILURE = 2, 3, 4
MOST_RENAMES: Final = 20
"""Names tried in a row before the record fails."""
RESOLVE_TIMEOUT: Final = 1.5
"""Seconds in which the owner of a name answers; Avahi would wait for five."""


Name = tuple[str, str]
"""A unique name: a service's and its type, or a host's and an empty string."""


class Group:
    """The entry group at ``path`` for the records of ``owner``.

    ``release`` makes another group release a name. It returns False if no other group has it.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        owner: Key,
        report: Report,
        release: Callable[["Group", Name], Awaitable[bool]],
    ) -> None:
        self.connection = connection
        self.path = path
        self._records: tuple[MdnsRecord, ...] = ()
        self._withdrawing: tuple[MdnsRecord, ...] = ()
        self._owner = owner
        self._report = report
        self._release_elsewhere = release
        self._lock = asyncio.Lock()
        self._renamed: dict[tuple[str, str], str] = {}
        self._status: list[RecordStatus] = []
        self._entries = Entries(self._call)
        self._collided = False

    async def free(self) -> None:
        """Withdraw all records."""
        async with self._lock:
            await self._call("Free")

    def has(self, name: Name) -> bool:
        """Return True if this group publishes the name, or is withdrawing it."""
        return any(_name_of(record) == name for record in (*self._records, *self._withdrawing))

    async def release(self) -> bool:
        """Withdraw all records, unless they are being replaced already; return True.

        The plan has given the name to another instance, so these records are replaced soon.
        """
        if self._lock.locked():
            await asyncio.sleep(RELEASE_PAUSE)
        else:
            async with self._lock:
                await self._reset()
                self.fail("the name belongs to another instance now")
        return True

    async def publish(self, records: Sequence[MdnsRecord], host: Host) -> None:
        """Publish exactly these records; if only TXT records differ, they are changed in place."""
        async with self._lock:
            if self._only_text_differs(records):
                await self._change_text(records)
            else:
                await self._replace(records, host)
            self._report(self._owner, tuple(self._status))

    async def refresh(self, host: Host) -> None:
        """Publish the host names at this host's addresses again."""
        async with self._lock:
            if any(isinstance(r, HostName) and not r.addresses for r in self._records):
                await self._replace(self._records, host)
                self._report(self._owner, tuple(self._status))

    async def _replace(self, records: Sequence[MdnsRecord], host: Host) -> None:
        await self._reset()
        if self._collided:
            await self._rename_taken(records)
        self._status, self._entries = [], Entries(self._call)
        # Host names first: a group has 32 entries, and there may be many services.
        for record in sorted(records, key=lambda record: isinstance(record, Service)):
            self._status.append(await self._added(record, host))
        self._records = tuple(records)
        if self._entries.count:
            await self._call("Commit")

    async def _reset(self) -> None:
        self._withdrawing, self._records = self._records, ()
        await self._call("Reset")
        self._withdrawing = ()

    def on_state(self, state: int) -> None:
        """Handle the StateChanged signal of the group."""
        if state == ESTABLISHED:
            self._status = [_announced(one) for one in self._status]
            self._report(self._owner, tuple(self._status))
        elif state == COLLISION:
            self._collided = True
            self.fail("another host on the network has this name")
        elif state == FAILURE:
            self.fail("avahi-daemon reports a failure")

    def fail(self, reason: str) -> None:
        """Report all records as failed."""
        failed = RecordState.FAILED
        self._records = ()
        self._status = [replace(one, state=failed, reason=reason) for one in self._status]
        self._report(self._owner, tuple(self._status))

    def _only_text_differs(self, records: Sequence[MdnsRecord]) -> bool:
        return bool(self._records) and (
            [_textless(r) for r in records] == [_textless(r) for r in self._records]
            and list(records) != list(self._records)
        )

    async def _change_text(self, records: Sequence[MdnsRecord]) -> None:
        before, self._records = self._records, ()  # after an error all records are replaced
        for record, known in zip(records, before, strict=True):
            if isinstance(record, Service) and record != known:
                body = [EVERY, EVERY, 0, self._name(record), record.type, DOMAIN, text_of(record)]
                await self._call("UpdateServiceTxt", "iiusssaay", *body)
        self._records = tuple(records)

    async def _added(self, record: MdnsRecord, host: Host) -> RecordStatus:
        """Add a record, under another name if a program on this host has the first."""
        for _ in range(MOST_RENAMES):
            name = self._name(record)
            try:
                return self._status_of(record, *await self._entries.add(record, name, host))
            except CallError as error:
                if error.name != LOCAL_COLLISION:
                    return self._not_added(record, error)
            if not await self._release_elsewhere(self, (name, _name_of(record)[1])):
                await self._rename(record)
        reason = "all names like it are taken on this host"
        return _status(record, self._name(record), RecordState.FAILED, reason)

    def _status_of(self, record: MdnsRecord, state: RecordState, reason: str) -> RecordStatus:
        name = self._name(record)
        renamed = f"'{record.name}' belongs to another host" if name != record.name else ""
        return _status(record, name, state, "; ".join(filter(None, (renamed, reason))))

    def _not_added(self, record: MdnsRecord, error: CallError) -> RecordStatus:
        permanent = error.name.removeprefix(f"{AVAHI}.").startswith(PERMANENT)
        state = RecordState.REFUSED if permanent else RecordState.FAILED
        return _status(record, self._name(record), state, str(error))

    async def _rename_taken(self, records: Sequence[MdnsRecord]) -> None:
        """Rename the records whose names other hosts answer for, or else all, after a collision."""
        self._collided = False
        with ungrouped(BusLost):
            async with asyncio.TaskGroup() as group:
                queries = [
                    (r, group.create_task(self._is_taken(r), name="avahi: resolve"))
                    for r in records
                ]
        taken = [record for record, query in queries if query.result()]
        for record in taken or records:
            await self._rename(record)

    async def _is_taken(self, record: MdnsRecord) -> bool:
        """Return True if another host answers for the name."""
        name = self._name(record)
        try:
            if isinstance(record, Service):
                body: list[Any] = [EVERY, EVERY, name, record.type, DOMAIN, EVERY, NO_ADDRESS]
                await self._call_server("ResolveService", "iisssiu", *body, within=RESOLVE_TIMEOUT)
            else:
                body = [EVERY, EVERY, f"{name}.{DOMAIN}", EVERY, 0]
                await self._call_server("ResolveHostName", "iisiu", *body, within=RESOLVE_TIMEOUT)
        except (CallError, TimeoutError):
            return False
        return True

    async def _rename(self, record: MdnsRecord) -> None:
        """Use the next name in Avahi's manner: ``web #2``, ``web-2.local``."""
        kind = "Service" if isinstance(record, Service) else "Host"
        (name,) = await self._call_server(f"GetAlternative{kind}Name", "s", self._name(record))
        self._renamed[_name_of(record)] = str(name)

    def _name(self, record: MdnsRecord) -> str:
        return self._renamed.get(_name_of(record), record.name)

    async def _call(self, member: str, signature: str = "", *body: Any) -> list[Any]:
        target = (AVAHI, self.path, GROUP)
        return await self.connection.call(target, member, signature, body, flags=NO_AUTO_START)

    async def _call_server(
        self, member: str, signature: str, *body: Any, within: float = CALL_TIMEOUT
    ) -> list[Any]:
        flags = NO_AUTO_START
        return await self.connection.call(
            SERVER, member, signature, body, within=within, flags=flags
        )


def _name_of(record: MdnsRecord) -> Name:
    return record.name, record.type if isinstance(record, Service) else ""


def _textless(record: MdnsRecord) -> MdnsRecord:
    return replace(record, txt=()) if isinstance(record, Service) else record


def _status(record: MdnsRecord, name: str, state: RecordState, reason: str = "") -> RecordStatus:
    title = replace(record, name=name).title
    return RecordStatus(name=title, state=state, provider="avahi", reason=reason)


def _announced(status: RecordStatus) -> RecordStatus:
    waits = status.state is RecordState.WANTED
    return replace(status, state=RecordState.ANNOUNCED) if waits else status
