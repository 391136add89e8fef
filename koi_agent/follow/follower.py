"""Follows one backend: connects, lists, passes events on, and reconnects after a loss.

The event stream is open before the first list. Further lists are made when the session reports
that events are not enough, and periodically. Backends do not implement any of this.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from random import uniform
from typing import Never

from koi_agent.core.backoff import pauses
from koi_agent.core.contracts import Backend, Session
from koi_agent.core.errors import BackendAbsent, BackendLost, ungrouped
from koi_agent.core.events import Absent, Change, Gone, Listing, Lost, Outdated, Seen
from koi_agent.core.message_ids import MessageId, journal_fields
from koi_agent.follow.attempts import FIRST_PAUSE, LONGEST_RETURN, attempt_pauses
from koi_agent.follow.deadlines import Deadlines
from koi_agent.follow.slices import SLICE, apply_in_slices, changes_of, different_ids
from koi_agent.timeouts import set_within, timeout

log = logging.getLogger(__name__)

STEADY = 10.0
"""Seconds from the first list after which a loss no longer counts as a repeated one."""
OPEN_TIMEOUT = 30.0
LIST_TIMEOUT = 60.0
CLOSE_TIMEOUT = 10.0
SECOND_LOOK = 2.0
"""Seconds after which a difference that no event explains is checked by a second list."""

Apply = Callable[[Change], None]
Differences = Callable[[Listing], Iterable[tuple[str, str]]]


class Follower:
    """Follows ``backend``; ``apply`` and ``differences`` are the registry's.

    ``settled`` is set when the backend has listed or its connection has failed: then a start does
    not wait for this backend any longer. ``interval`` is the seconds between periodic lists.
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
        self._recorders: list[set[str]] = []
        self._early_events: dict[str, Seen | Gone] | None = None  # None after the first list
        self._session: Session | None = None
        self._listing, self._has_failed = asyncio.Lock(), asyncio.Event()
        self._steady_at = math.inf
        self._last_warning = ""
        self._absence = ""
        self._attempt: asyncio.Task[Lost | Absent] | None = None
        self._retry_now = asyncio.Event()
        self._deadlines = Deadlines()

    def renew(self, backend: Backend, *, interval: float) -> None:
        """Reconnect with a new configuration; instances are kept until the next list."""
        self._backend, self._interval = backend, interval
        self.settled.clear()
        self._retry_now.set()
        if self._attempt:
            self._attempt.cancel()

    def overdue(self) -> str:
        """Return a sentence about steps that took twice their timeout, or ""; this is a bug."""
        late = self._deadlines.overdue()
        return f"{self.name}: {' and '.join(late)} did not end in time" if late else ""

    async def run(self) -> Never:
        """Follow the backend until cancelled."""
        attempts = self._attempts()
        returns = pauses(FIRST_PAUSE, LONGEST_RETURN)
        while True:
            self._steady_at = math.inf
            self._retry_now.clear()
            # In a separate task: before Python 3.13 a task group that fails while its task is
            # cancelled loses the cancellation, and this loop would never end.
            async with asyncio.TaskGroup() as group:
                attempt = group.create_task(self._attempt_session(), name=f"{self.name} following")
                self._attempt = attempt
            if attempt.cancelled():  # by renew()
                continue
            had_listed = self._early_events is None
            if had_listed:
                await self._outdate_in_slices()
            self._apply(attempt.result())
            self.settled.set()
            if asyncio.get_running_loop().time() > self._steady_at:
                returns = pauses(FIRST_PAUSE, LONGEST_RETURN)
            if had_listed:
                attempts = self._attempts()
            if await self._pause(next(returns if had_listed else attempts)):
                attempts = self._attempts()

    def _attempts(self) -> Iterator[float]:
        return attempt_pauses(lambda: bool(self._absence), self._interval)

    async def _pause(self, seconds: float) -> bool:
        """Wait; return True early after renew() or when the runtime arrives."""
        async with asyncio.TaskGroup() as group:
            arrival = group.create_task(self._await_arrival(), name=f"{self.name} arriving")
            await set_within(self._retry_now, seconds)
            arrival.cancel()
        return self._retry_now.is_set()

    async def _await_arrival(self) -> None:
        """Wait until the runtime arrives, and then for the moment it needs to become ready."""
        await self._backend.arrival()
        await asyncio.sleep(FIRST_PAUSE)
        self._retry_now.set()

    async def _attempt_session(self) -> Lost | Absent:
        """Run one session until it is lost; return the change for the registry."""
        try:
            await self._run_session()
            ended: Lost | Absent = Lost(backend=self.name, reason="the session ended")
        except BackendAbsent as absent:
            self._absence = str(absent)
            ended = Absent(backend=self.name, reason=self._absence)
        except BackendLost as lost:
            # A repeated reason, such as a missing permission, is logged once.
            level = logging.DEBUG if str(lost) == self._last_warning else logging.WARNING
            log.log(level, "%s: %s; trying again", self.name, lost)
            self._last_warning, self._absence = str(lost), ""
            ended = Lost(backend=self.name, reason=str(lost))
        return ended

    async def resync(self) -> Mapping[str, str]:
        """List now; return the differences, as ``Registry.differences`` does.

        Raises ``BackendLost``, or its subclass ``BackendAbsent``. After a failure, the session
        lists again by itself: it may have applied a part of the list.
        """
        if self._absence:
            raise BackendAbsent(f"{self.name} is absent: {self._absence}")
        if self._session is None or self._early_events is not None:
            raise BackendLost(f"{self.name} is not connected")
        with ExitStack() as failure:
            failure.callback(self._has_failed.set)
            different = await self._list(self._session)
            failure.pop_all()
        return different

    async def _run_session(self) -> None:
        loop = asyncio.get_running_loop()
        self._early_events = {}
        self._listing, self._has_failed = asyncio.Lock(), asyncio.Event()
        try:
            self._deadlines.start("connecting", OPEN_TIMEOUT)
            async with (
                timeout(OPEN_TIMEOUT) as limit,
                self._backend.session(self._deliver) as self._session,
            ):
                self._absence = ""
                self._deadlines.end("connecting")
                limit.reschedule(None)
                try:
                    await self._follow(self._session)
                finally:
                    self._deadlines.start("leaving", CLOSE_TIMEOUT)
                    limit.reschedule(loop.time() + CLOSE_TIMEOUT)
        except TimeoutError as error:
            raise BackendLost("connecting or disconnecting took too long") from error
        finally:
            self._session = None
            self._deadlines.clear()

    async def _follow(self, session: Session) -> None:
        """List, and keep the session in step until it is lost; raise ``BackendLost``."""
        with ungrouped(BackendLost):
            async with asyncio.TaskGroup() as group:
                # Runs during the first list too: events that wait too long are lost.
                group.create_task(session.run(), name=f"{self.name} session")
                await self._list(session)
                self._steady_at = asyncio.get_running_loop().time() + STEADY
                self.settled.set()
                group.create_task(self._list_on_doubt(session), name=f"{self.name} doubt")
                group.create_task(self._list_after_failure(session), name=f"{self.name} failure")
                await self._list_periodically(session)

    async def _list_after_failure(self, session: Session) -> None:
        while True:
            await self._has_failed.wait()
            self._has_failed.clear()
            await self._list(session)

    async def _list_on_doubt(self, session: Session) -> None:
        while True:
            reason = await session.doubt()
            log.debug("%s: listing again: %s", self.name, reason)
            await self._list(session)

    async def _list_periodically(self, session: Session) -> None:
        while True:
            await asyncio.sleep(uniform(0.9, 1.1) * self._interval)  # noqa: S311 - jitter
            with self._recorded_ids() as explained:
                async with self._listing:
                    listing = await self._request_list(session)
                    different = await different_ids(self._differences(listing))
                    if not different:
                        self._apply(replace(listing, touched=listing.touched | explained))
                if different:
                    await asyncio.sleep(SECOND_LOOK)
            if different:
                await self._list(session, suspects=different.keys() - explained)

    async def _list(self, session: Session, suspects: Set[str] = frozenset()) -> Mapping[str, str]:
        """List and apply; those of ``suspects`` that are still different count as drift."""
        async with self._listing:
            with self._recorded_ids() as touched:
                listing = await self._request_list(session)
                different = await different_ids(self._differences(listing))
                await self._apply_in_slices(session, listing, different, touched)
            if session is not self._session:
                raise BackendLost(f"{self.name} was lost during a list")
            drifted = frozenset(suspects & different.keys())
            if drifted:
                extra = journal_fields(MessageId.DRIFT, KOI_BACKEND=self.name)
                ids = ", ".join(sorted(drifted))
                log.warning("%s: drift repaired: %s", self.name, ids, extra=extra)
            listing = replace(listing, touched=listing.touched | touched, drifted=drifted)
            self._apply(listing)
            self._last_warning = ""
            early, self._early_events = self._early_events or {}, None
            for id_, change in early.items():
                if id_ in listing.touched:  # all others are older than the list
                    self._apply(change)
        return different

    async def _apply_in_slices(
        self, session: Session, listing: Listing, different: Mapping[str, str], touched: Set[str]
    ) -> None:
        """Apply many differences of a list in slices, before the list itself.

        A list is applied at once, which would block the event loop for thousands of differences.
        Events since the request (``touched``) are newer than the list. So is the loss of the
        session.
        """

        def counts(id_: str) -> bool:
            return session is self._session and id_ not in touched

        changes = changes_of(listing, different, is_first=self._early_events is not None)
        if len(changes) > SLICE:
            await apply_in_slices(self._apply, (one for one in changes if counts(_id(one))))

    async def _outdate_in_slices(self) -> None:
        """Mark many instances as outdated in slices, before the loss itself does so at once."""
        held = list(self._differences(Listing(backend=self.name, instances=())))
        if len(held) > SLICE:
            await apply_in_slices(self._apply, (Outdated(self.name, id_) for id_, _ in held))

    async def _request_list(self, session: Session) -> Listing:
        """Return a list, with the ids of events that arrived since the request."""
        with self._recorded_ids() as touched:
            self._deadlines.start("listing", LIST_TIMEOUT)
            try:
                async with timeout(LIST_TIMEOUT):
                    listing = await session.list()
            except TimeoutError as error:
                raise BackendLost(f"no list within {LIST_TIMEOUT:.0f} s") from error
            finally:
                self._deadlines.end("listing")
        return replace(listing, touched=listing.touched | touched)

    @contextmanager
    def _recorded_ids(self) -> Iterator[set[str]]:
        """Record the ids of all events that arrive within the block."""
        ids: set[str] = set()
        self._recorders.append(ids)
        try:
            yield ids
        finally:
            self._recorders = [other for other in self._recorders if other is not ids]

    def _deliver(self, change: Seen | Gone) -> None:
        id_ = _id(change)
        for recorder in self._recorders:
            recorder.add(id_)
        if self._early_events is None:
            self._apply(change)
        else:
            self._early_events[id_] = change


def _id(change: Seen | Gone) -> str:
    return change.instance.id if isinstance(change, Seen) else change.id
