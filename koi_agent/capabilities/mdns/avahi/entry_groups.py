"""One instance's records as one entry group of Avahi: published, changed, renamed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from koi_agent.bus.client import CALL_TIMEOUT, CallError, Connection
from koi_agent.bus.writer import BusLost
from koi_agent.capabilities.mdns.avahi.entries import AVAHI, DOMAIN, EVERY, Entries, Host, text_of
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ungrouped
from koi_agent.core.instance import Standing
from koi_agent.core.plan.records import HostName, Record, Service, Told

SERVER: Final = (AVAHI, "/", f"{AVAHI}.Server")
GROUP: Final = f"{AVAHI}.EntryGroup"
LOCAL_COLLISION: Final = f"{AVAHI}.CollisionError"
NEVER: Final = ("Invalid", "NotSupported", "NotPermitted", "TooMany")
"""How Avahi's errors begin that come again whenever it is asked the same."""
YIELDING: Final = 0.05
"""Seconds that another group of ours may need until it has given up a name."""
NO_AUTO_START: Final = 2
"""A call's flag: whether avahi-daemon runs is the administrator's decision."""

NO_ADDRESS: Final = 8
"""AVAHI_LOOKUP_NO_ADDRESS."""
ESTABLISHED, COLLISION, FAILURE = 2, 3, 4
MOST_RENAMES: Final = 20
"""Names tried at one time before it is left for later."""
WHOSE: Final = 1.5
"""Seconds in which whoever has a name answers for it; Avahi would wait for five."""


Place = tuple[str, str]
"""A name that only one may have: a service's and its type, or a host's and ""."""


class Group:
    """The entry group at ``path`` for the records of ``key``.

    ``make_way`` is asked to have another group give up a name; it tells whether one does.
    """

    def __init__(
        self,
        link: Connection,
        path: str,
        key: str,
        report: Report,
        make_way: Callable[["Group", Place], Awaitable[bool]],
    ) -> None:
        self.link = link
        self.path = path
        self._records: tuple[Record, ...] = ()
        self._leaving: tuple[Record, ...] = ()
        self._key = key
        self._report = report
        self._others_make_way = make_way
        self._lock = asyncio.Lock()
        self._renamed: dict[tuple[str, str], str] = {}
        self._told: list[Told] = []
        self._entries = Entries(self._ask)
        self._collided = False

    async def free(self) -> None:
        """Withdraw everything."""
        async with self._lock:
            await self._ask("Free")

    def has(self, place: Place) -> bool:
        """Tell whether a name was asked for here, and is published, or still is."""
        return any(_place(record) == place for record in (*self._records, *self._leaving))

    async def give_way(self) -> bool:
        """Withdraw everything, unless it is being published anew; returns that it is on its way.

        Who has another name by plan now is about to be published anew: here it is only early.
        """
        if self._lock.locked():
            await asyncio.sleep(YIELDING)
        else:
            async with self._lock:
                await self._reset()
                self.fail("its name is another's now")
        return True

    async def publish(self, records: Sequence[Record], host: Host) -> None:
        """Publish exactly these; the text of what is known already is changed in place."""
        async with self._lock:
            if self._only_text_differs(records):
                await self._change_text(records)
            else:
                await self._replace(records, host)
            self._report(self._key, tuple(self._told))

    async def refresh(self, host: Host) -> None:
        """Publish what follows this host's addresses again, for it has others now."""
        async with self._lock:
            if any(isinstance(r, HostName) and not r.addresses for r in self._records):
                await self._replace(self._records, host)
                self._report(self._key, tuple(self._told))

    async def _replace(self, records: Sequence[Record], host: Host) -> None:
        await self._reset()
        if self._collided:
            await self._make_way(records)
        self._told, self._entries = [], Entries(self._ask)
        # Host names first: a service is found by its port alone, and there may be many of them.
        for record in sorted(records, key=lambda record: isinstance(record, Service)):
            self._told.append(await self._added(record, host))
        self._records = tuple(records)
        if self._entries.count:
            await self._ask("Commit")

    async def _reset(self) -> None:
        self._leaving, self._records = self._records, ()
        await self._ask("Reset")
        self._leaving = ()

    def moved(self, state: int) -> None:
        """Take Avahi's word on what became of the group."""
        if state == ESTABLISHED:
            self._told = [_announced(one) for one in self._told]
            self._report(self._key, tuple(self._told))
        elif state == COLLISION:
            self._collided = True
            self.fail("somebody else on the network has this name")
        elif state == FAILURE:
            self.fail("avahi-daemon gave up")

    def fail(self, reason: str) -> None:
        """Report that nothing of it is known any more."""
        failed = Standing.FAILED
        self._records = ()
        self._told = [replace(one, status=failed, reason=reason) for one in self._told]
        self._report(self._key, tuple(self._told))

    def _only_text_differs(self, records: Sequence[Record]) -> bool:
        return bool(self._records) and (
            [_textless(r) for r in records] == [_textless(r) for r in self._records]
            and list(records) != list(self._records)
        )

    async def _change_text(self, records: Sequence[Record]) -> None:
        before, self._records = self._records, ()  # unless all goes well, all is done anew
        for record, known in zip(records, before, strict=True):
            if isinstance(record, Service) and record != known:
                body = [EVERY, EVERY, 0, self._name(record), record.type, DOMAIN, text_of(record)]
                await self._ask("UpdateServiceTxt", "iiusssaay", *body)
        self._records = tuple(records)

    async def _added(self, record: Record, host: Host) -> Told:
        """Add a record, under another name if somebody on this host has the first."""
        for _ in range(MOST_RENAMES):
            name = self._name(record)
            try:
                return self._as_told(record, *await self._entries.add(record, name, host))
            except CallError as error:
                if error.name != LOCAL_COLLISION:
                    return self._not_added(record, error)
            place = name, _place(record)[1]
            if not await self._others_make_way(self, place):
                await self._rename(record)
        reason = "all names like it are taken on this host"
        return _told(record, self._name(record), Standing.FAILED, reason)

    def _as_told(self, record: Record, status: Standing, reason: str) -> Told:
        name = self._name(record)
        renamed = f"'{record.name}' is somebody else's" if name != record.name else ""
        return _told(record, name, status, "; ".join(filter(None, (renamed, reason))))

    def _not_added(self, record: Record, error: CallError) -> Told:
        for_ever = error.name.removeprefix(f"{AVAHI}.").startswith(NEVER)
        status = Standing.REFUSED if for_ever else Standing.FAILED
        return _told(record, self._name(record), status, str(error))

    async def _make_way(self, records: Sequence[Record]) -> None:
        """After a collision, rename what others on the network answer for; else everything."""
        self._collided = False
        with ungrouped(BusLost):
            async with asyncio.TaskGroup() as group:
                asked = [(r, group.create_task(self._answered(r), name="whose")) for r in records]
        taken = [record for record, answer in asked if answer.result()]
        for record in taken or records:
            await self._rename(record)

    async def _answered(self, record: Record) -> bool:
        """Tell whether a name is somebody's, while it is not ours."""
        name = self._name(record)
        try:
            if isinstance(record, Service):
                body: list[Any] = [EVERY, EVERY, name, record.type, DOMAIN, EVERY, NO_ADDRESS]
                await self._ask_server("ResolveService", "iisssiu", *body, within=WHOSE)
            else:
                body = [EVERY, EVERY, f"{name}.{DOMAIN}", EVERY, 0]
                await self._ask_server("ResolveHostName", "iisiu", *body, within=WHOSE)
        except (CallError, TimeoutError):
            return False
        return True

    async def _rename(self, record: Record) -> None:
        """Take the next name as Avahi makes them: ``web #2``, ``web-2.local``."""
        kind = "Service" if isinstance(record, Service) else "Host"
        (name,) = await self._ask_server(f"GetAlternative{kind}Name", "s", self._name(record))
        self._renamed[_place(record)] = str(name)

    def _name(self, record: Record) -> str:
        return self._renamed.get(_place(record), record.name)

    async def _ask(self, member: str, signature: str = "", *body: Any) -> list[Any]:
        target = (AVAHI, self.path, GROUP)
        return await self.link.call(target, member, signature, body, flags=NO_AUTO_START)

    async def _ask_server(
        self, member: str, signature: str, *body: Any, within: float = CALL_TIMEOUT
    ) -> list[Any]:
        flags = NO_AUTO_START
        return await self.link.call(SERVER, member, signature, body, within=within, flags=flags)


def _place(record: Record) -> Place:
    return record.name, record.type if isinstance(record, Service) else ""


def _textless(record: Record) -> Record:
    return replace(record, txt=()) if isinstance(record, Service) else record


def _told(record: Record, name: str, status: Standing, reason: str = "") -> Told:
    title = replace(record, name=name).title
    return Told(name=title, status=status, provider="avahi", reason=reason)


def _announced(told: Told) -> Told:
    waits = told.status is Standing.WANTED
    return replace(told, status=Standing.ANNOUNCED) if waits else told
