"""The engine of the IN side: keeps one backend followed for ever.

Open the event stream, list, pass changes on; list again once a minute and whenever the
session doubts what it was told; when the connection is lost, mark it so, wait a little longer
each time, and begin anew. Backends know nothing of all this.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import replace
from random import uniform
from typing import Never

from koi_agent.core.backoff import pauses
from koi_agent.core.contracts import Backend, Session
from koi_agent.core.errors import BackendAbsent, BackendLost, ungrouped
from koi_agent.core.events import Absent, Change, Gone, Listing, Lost, Seen
from koi_agent.core.message_ids import MessageId, journal_fields

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds between attempts to reach a backend."""
LONGEST_RETURN = 2.0
"""Seconds before a backend that was lost is tried first, however often it was lost lately."""
STEADY = 10.0
"""Seconds after its first list that a session must last for its loss to count as a first one."""
OPEN_TIMEOUT = 30.0
LIST_TIMEOUT = 60.0
CLOSE_TIMEOUT = 10.0
COMPARED = 500
"""Listed instances compared before others get their turn."""
SLICE = 50
"""Differences applied before others get their turn."""
SECOND_LOOK = 2.0
"""Seconds after which a difference that no event explains is looked at again."""

Apply = Callable[[Change], None]
Differences = Callable[[Listing], Iterable[tuple[str, str]]]


class Follower:
    """Follows ``backend``; ``apply`` and ``differences`` are the registry's.

    ``settled`` is set once the backend has listed or was found wanting: a start that waits
    for all backends waits no longer for this one.
    """

    def __init__(
        self, backend: Backend, apply: Apply, differences: Differences, *, interval: float
    ) -> None:
        self.name = backend.name
        self.settled = asyncio.Event()
        self._backend = backend
        self._apply = apply
        self._differences = differences
        self._interval = interval
        self._touched: list[set[str]] = []
        self._early: dict[str, Seen | Gone] | None = None
        self._session: Session | None = None
        self._listing = asyncio.Lock()
        self._steady_at = math.inf
        self._complaint = ""
        self._absence = ""
        self._following: asyncio.Task[Lost | Absent] | None = None
        self._awake = asyncio.Event()
        self._deadlines: dict[str, float] = {}

    def renew(self, backend: Backend, *, interval: float) -> None:
        """Follow anew as configured now; what is tracked stays, until the next list corrects it."""
        self._backend, self._interval = backend, interval
        self.settled.clear()
        self._awake.set()
        if self._following:
            self._following.cancel()

    def overdue(self) -> str:
        """Say what has overrun its own deadline twofold, which is a bug; "" if nothing has."""
        now = asyncio.get_running_loop().time()
        late = [what for what, due in self._deadlines.items() if now > due]
        return f"{self.name}: {' and '.join(late)} did not end in time" if late else ""

    async def run(self) -> Never:
        """Follow for ever."""
        attempts = pauses(FIRST_PAUSE, LONGEST_PAUSE)
        returns = pauses(FIRST_PAUSE, LONGEST_RETURN)
        while True:
            self._steady_at = math.inf
            self._awake.clear()
            # In a task of its own: before Python 3.13 a task group that fails while its task is
            # cancelled forgets the cancelling, and this task would follow on for ever.
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._until_lost(), name=f"{self.name} following")
                self._following = following
            if following.cancelled():  # renewed
                continue
            self._apply(following.result())
            self.settled.set()
            if asyncio.get_running_loop().time() > self._steady_at:
                returns = pauses(FIRST_PAUSE, LONGEST_RETURN)
            had_listed = self._early is None
            if had_listed:
                attempts = pauses(FIRST_PAUSE, LONGEST_PAUSE)
            if await self._rest(next(returns if had_listed else attempts)):
                attempts = pauses(FIRST_PAUSE, LONGEST_PAUSE)

    async def _rest(self, seconds: float) -> bool:
        """Wait, unless a new configuration, or a runtime, is to be tried at once: then True."""
        async with asyncio.TaskGroup() as group:
            arriving = group.create_task(self._await_arrival(), name=f"{self.name} arriving")
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._awake.wait()
            arriving.cancel()
        return self._awake.is_set()

    async def _await_arrival(self) -> None:
        """Wait for a runtime to arrive, and for the moment it needs to be ready."""
        await self._backend.arrival()
        await asyncio.sleep(FIRST_PAUSE)
        self._awake.set()

    async def _until_lost(self) -> Lost | Absent:
        try:
            await self._follow()
            ended: Lost | Absent = Lost(backend=self.name, reason="the session ended")
        except BackendAbsent as absent:
            self._absence = str(absent)
            ended = Absent(backend=self.name, reason=self._absence)
        except BackendLost as lost:
            # The same again and again, as a permission that nobody gives, is said once.
            level = logging.DEBUG if str(lost) == self._complaint else logging.WARNING
            log.log(level, "%s: %s; trying again", self.name, lost)
            self._complaint, self._absence = str(lost), ""
            ended = Lost(backend=self.name, reason=str(lost))
        return ended

    async def resync(self) -> Mapping[str, str]:
        """List now; returns what was different, as ``Registry.differences`` does.

        Raises ``BackendLost``, of which ``BackendAbsent`` is one.
        """
        if self._absence:
            raise BackendAbsent(f"{self.name} is absent: {self._absence}")
        if self._session is None or self._early is not None:
            raise BackendLost(f"{self.name} is not connected")
        return await self._list(self._session)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        self._early = {}
        self._listing = asyncio.Lock()
        try:
            self._expect("connecting", OPEN_TIMEOUT)
            async with asyncio.timeout(OPEN_TIMEOUT) as patience:
                async with self._backend.session(self._deliver) as self._session:
                    self._absence = ""
                    del self._deadlines["connecting"]
                    patience.reschedule(None)
                    try:
                        await self._keep(self._session)
                    finally:
                        self._expect("leaving", CLOSE_TIMEOUT)
                        patience.reschedule(loop.time() + CLOSE_TIMEOUT)
        except TimeoutError as error:
            raise BackendLost("it can't be connected to, or left, in time") from error
        finally:
            self._session = None
            self._deadlines.clear()

    def _expect(self, what: str, within: float) -> None:
        """Note when something with a deadline is twofold late: the deadline itself has failed."""
        self._deadlines[what] = asyncio.get_running_loop().time() + 2 * within

    async def _keep(self, session: Session) -> None:
        """Watch over a session until it is lost, which this raises."""
        with ungrouped(BackendLost):
            async with asyncio.TaskGroup() as group:
                # Runs during the first list too: events that wait too long are lost.
                group.create_task(session.run(), name=f"{self.name} session")
                await self._list(session)
                self._steady_at = asyncio.get_running_loop().time() + STEADY
                self.settled.set()
                group.create_task(self._doubt(session), name=f"{self.name} doubt")
                await self._repair(session)

    async def _doubt(self, session: Session) -> None:
        while True:
            reason = await session.doubt()
            log.debug("%s: listing again: %s", self.name, reason)
            await self._list(session)

    async def _repair(self, session: Session) -> None:
        while True:
            await asyncio.sleep(uniform(0.9, 1.1) * self._interval)  # noqa: S311 - jitter
            with self._hearing() as explained:
                async with self._listing:
                    listing = await self._ask(session)
                    first = await self._compare(listing)
                    if not first:
                        self._apply(listing)
                if first:
                    await asyncio.sleep(SECOND_LOOK)
            if first:
                await self._list(session, suspects=first.keys() - explained)

    async def _list(self, session: Session, suspects: Set[str] = frozenset()) -> Mapping[str, str]:
        """List and apply; of ``suspects``, those still different count as drift."""
        async with self._listing:
            with self._hearing() as touched:
                listing = await self._ask(session)
                different = await self._compare(listing)
                await self._approach(listing, different, touched)
            if session is not self._session:
                raise BackendLost(f"{self.name} was lost while it listed")
            drifted = frozenset(suspects & different.keys())
            if drifted:
                extra = journal_fields(MessageId.DRIFT, KOI_BACKEND=self.name)
                ids = ", ".join(sorted(drifted))
                log.warning("%s: drift, mended: %s", self.name, ids, extra=extra)
            listing = replace(listing, touched=listing.touched | touched, drifted=drifted)
            self._apply(listing)
            self._complaint = ""
            early, self._early = self._early or {}, None
            for id_, change in early.items():
                if id_ in listing.touched:  # else it came before the list, which is newer
                    self._apply(change)
        return different

    async def _compare(self, listing: Listing) -> dict[str, str]:
        """Find what a list has different, looking at some at a time."""
        different: dict[str, str] = {}
        for number, (id_, how) in enumerate(self._differences(listing), start=1):
            if how:
                different[id_] = how
            if number % COMPARED == 0:
                await asyncio.sleep(0)
        return different

    async def _approach(
        self, listing: Listing, different: Mapping[str, str], touched: Set[str]
    ) -> None:
        """Apply what a list found different piece by piece, where it is much.

        The list itself is applied in one go, and thousands of news in one go would hold up
        everything else. Of what events spoke of meanwhile (``touched``) they know better.
        """
        if len(different) <= SLICE:
            return
        news: list[Seen | Gone] = [Seen(one) for one in listing.instances if one.id in different]
        for id_, how in different.items():
            if how == "removed":
                news.append(Gone(backend=self.name, id=id_, reason="not listed"))
        for number, change in enumerate(news):
            if _id(change) not in touched:
                self._apply(change)
            if number % SLICE == 0:
                await asyncio.sleep(0)

    async def _ask(self, session: Session) -> Listing:
        """List, and note the ids that events spoke of meanwhile."""
        with self._hearing() as touched:
            self._expect("listing", LIST_TIMEOUT)
            try:
                async with asyncio.timeout(LIST_TIMEOUT):
                    listing = await session.list()
            except TimeoutError as error:
                raise BackendLost(f"no list within {LIST_TIMEOUT:.0f} s") from error
            finally:
                self._deadlines.pop("listing", None)
        return replace(listing, touched=listing.touched | touched)

    @contextmanager
    def _hearing(self) -> Iterator[set[str]]:
        """Note the ids that events speak of."""
        heard: set[str] = set()
        self._touched.append(heard)
        try:
            yield heard
        finally:
            self._touched = [other for other in self._touched if other is not heard]

    def _deliver(self, change: Seen | Gone) -> None:
        id_ = _id(change)
        for touched in self._touched:
            touched.add(id_)
        if self._early is None:
            self._apply(change)
        else:
            self._early[id_] = change


def _id(change: Seen | Gone) -> str:
    return change.instance.id if isinstance(change, Seen) else change.id
