"""Keeps one provider in agreement with the records that are wanted.

A feed compares the wanted records with those that the provider has, owner by owner. A failed owner
is tried again on its own, with growing pauses. When the provider is lost, all records are put
again in the next session. A provider never retries itself.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Never, cast

from koi_agent.announce.withdrawal import leave
from koi_agent.core.backoff import pauses
from koi_agent.core.contracts import (
    AlwaysOpen,
    Completable,
    Interruptible,
    Provider,
    ProviderSession,
    is_interruptible,
)
from koi_agent.core.errors import ProviderChanged, ProviderLost, ProviderRefused, ungrouped
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.message_ids import MessageId, journal_fields
from koi_agent.core.plan.records import Record
from koi_agent.host.uninterrupted import uninterrupted
from koi_agent.timeouts import set_within, timeout

log = logging.getLogger(__name__)

Records = tuple[Record, ...]

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds between attempts to reach a provider."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
"""Seconds between attempts to put the records of one owner."""
PUT_TIMEOUT = 10.0
"""Seconds that a provider may take for the records of one owner."""
STEADY = 10.0
"""Seconds that a session must last for its loss to count as the first one."""
WORKERS = 8
"""Owners that are put at the same time, so that a slow one does not delay the others."""


class Feed:
    """Feeds ``provider``, which is named ``name`` in logs.

    ``changed`` is called with each owner whose status changes. The feed connects to the provider
    when the first record is wanted, or from the start if it is ``AlwaysOpen``.
    """

    def __init__(self, name: str, provider: Provider[Any], changed: Callable[[Key], None]) -> None:
        self.name = name
        self.provider = provider
        self._changed = changed
        self._wanted: dict[Key, Records] = {}
        self._put_records: dict[Key, Records | None] = {}  # None: not known
        self._status: dict[Key, Sequence[RecordStatus]] = {}
        self._trouble = ""
        self._reported: str | None = None  # why all owners wait, as last reported
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._busy: set[Key] = set()
        self._waits: dict[Key, Iterator[float]] = {}
        self._retries: dict[Key, asyncio.TimerHandle] = {}
        self._feeding: asyncio.Task[ProviderLost] | None = None
        self._renewed = asyncio.Event()
        self._session: ProviderSession[Any] | None = None
        self._needed = asyncio.Event()
        self._all_wanted = False
        self._is_complete = False

    def want(self, owner: Key, records: Records) -> None:
        """Set the records of an owner that are wanted from now on; an empty tuple withdraws all."""
        if self._wanted.get(owner, ()) == records:
            return
        if records:
            self._wanted[owner] = records
            self._needed.set()
        else:
            del self._wanted[owner]
            if not self._session:
                self._end_work(self.provider, owner)
        self._status.pop(owner, None)
        self._clear_retry(owner)
        self._enqueue(owner)

    def complete(self) -> None:
        """Mark the wanted records as complete: those of all known instances are among them."""
        self._all_wanted = True
        self._check_complete()

    def interrupt(self, owner: Key) -> None:
        """Withdraw the records of an owner; later ones are put even if they are the same.

        A session's work for the owner ends now: a later result would count for the next run.
        """
        self.want(owner, ())
        self._end_work(self._session or self.provider, owner)
        if owner in self._put_records:
            self._put_records[owner] = None

    def _end_work(self, worker: object, owner: Key) -> None:
        if is_interruptible(type(worker)):  # type: ignore[arg-type]  # a type is hashable
            cast("Interruptible", worker).interrupt(owner)

    def status(self, owner: Key) -> Sequence[RecordStatus]:
        """Return the status of the records of an owner."""
        records = self._wanted.get(owner, ())
        if owner in self._status and records:
            return self._status[owner]
        reason = "" if self._session else self._absence
        wanted = RecordState.WANTED
        return [RecordStatus(name=one.title, state=wanted, reason=reason) for one in records]

    @property
    def _absence(self) -> str:
        """The reason why records wait for a session."""
        return self._trouble or self.provider.absence

    def renew(self, provider: Provider[Any]) -> None:
        """Feed another provider; the session with the previous one ends."""
        self.provider = provider
        self._trouble = ""
        self._all_wanted = False
        self._renewed.set()
        if self._feeding:
            self._feeding.cancel()

    async def run(self) -> Never:
        """Feed until cancelled, and withdraw all records; a second cancellation waits for that."""
        await uninterrupted(self._feed_to_the_end, self.name)

    async def _feed_to_the_end(self) -> Never:
        try:
            await self._keep_feeding()
        finally:
            await leave(self.provider)

    async def _keep_feeding(self) -> Never:
        waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
        loop = asyncio.get_running_loop()
        provider = self.provider
        while True:
            await leave(provider, self.provider)
            provider = self.provider
            self._renewed.clear()
            self._report_all()
            began = loop.time()
            # A separate task: cancellation by renew() is not a cancellation of run().
            async with asyncio.TaskGroup() as group:
                work = uninterrupted(self._until_lost, f"{self.name} session")
                feeding = self._feeding = group.create_task(work, name=f"{self.name} feeding")
            if self._renewed.is_set():
                continue
            if loop.time() > began + STEADY:
                waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
            self._log_loss(feeding.result())
            await set_within(self._renewed, next(waits))

    def _log_loss(self, lost: ProviderLost) -> None:
        """Log a loss; the same reason again is logged at debug level."""
        before, self._trouble = self._trouble, str(lost)
        if isinstance(lost, ProviderChanged):
            log.info("%s: %s", self.name, lost)
            return
        level = logging.DEBUG if self._trouble == before else logging.WARNING
        extra = journal_fields(MessageId.PROVIDER_LOST)
        log.log(level, "%s: %s; trying again", self.name, lost, extra=extra)

    def _report_all(self) -> None:
        """Report all owners, unless no session was opened and the reason is still the same."""
        if self._absence != self._reported:
            self._reported = self._absence
            for owner in self._wanted:
                self._changed(owner)

    async def _until_lost(self) -> ProviderLost:
        if not (isinstance(self.provider, AlwaysOpen) and self.provider.is_always_open):
            await self._needed.wait()
        try:
            await self._feed()
        except ProviderLost as lost:
            return lost
        finally:
            self._close()
        return ProviderLost("the session ended")

    async def _feed(self) -> None:
        async with self.provider.session(self._on_report) as session:
            self._session = session
            self._reported = None
            for owner in self._wanted:
                self._enqueue(owner)
            self._check_complete()
            with ungrouped(ProviderLost):
                async with asyncio.TaskGroup() as group:
                    for number in range(WORKERS):
                        work = self._work(session)
                        group.create_task(work, name=f"{self.name} worker {number}")
                    await session.run()

    def _close(self) -> None:
        """Reset: the records went with the session."""
        self._session = None
        self._is_complete = False
        for timer in self._retries.values():
            timer.cancel()
        self._retries.clear()
        self._waits.clear()
        self._put_records.clear()
        self._status.clear()
        self._busy.clear()
        self._queued.clear()
        self._queue = asyncio.Queue()

    def _enqueue(self, owner: Key) -> None:
        """Queue an owner, unless it is queued or being put."""
        self._retries.pop(owner, None)
        if self._session and owner not in self._queued and owner not in self._busy:
            self._queued.add(owner)
            self._queue.put_nowait(owner)

    async def _work(self, session: ProviderSession[Any]) -> None:
        while True:
            owner = await self._queue.get()
            self._queued.discard(owner)
            records = self._wanted.get(owner, ())
            if records == self._put_records.get(owner, ()):
                self._check_complete()
                continue
            self._busy.add(owner)
            trouble = await self._put(session, owner, records)
            self._busy.discard(owner)
            if self._wanted.get(owner, ()) != records:
                self._enqueue(owner)
            elif trouble:
                self._fail(owner, records, trouble)
            elif self._put_records.get(owner, ()) != records and owner not in self._retries:
                self._enqueue(owner)
            self._check_complete()
            self._changed(owner)

    def _check_complete(self) -> None:
        """Pass on, once in a session, that all records that are wanted have been put."""
        session: object = self._session
        if self._is_complete or not self._all_wanted or self._queued or self._busy or not session:
            return
        self._is_complete = True
        if isinstance(session, Completable):
            session.complete()

    def _fail(self, owner: Key, records: Records, reason: str) -> None:
        failed = RecordState.FAILED
        self._on_report(
            owner, [RecordStatus(name=one.title, state=failed, reason=reason) for one in records]
        )
        self._retry(owner)

    async def _put(self, session: ProviderSession[Any], owner: Key, records: Records) -> str:
        """Call the provider; return the error text, empty on success."""
        self._put_records[owner] = records
        try:
            async with timeout(PUT_TIMEOUT):
                await session.put(owner, records)
        except ProviderRefused as refused:
            return str(refused)
        except TimeoutError:
            return f"no answer within {PUT_TIMEOUT:.0f} s"
        if not records:
            self._put_records.pop(owner, None)
        return ""

    def _on_report(self, owner: Key, reported: Sequence[RecordStatus]) -> None:
        """Store the status that a session reports; retry an owner with a failed record."""
        if not self._wanted.get(owner):
            return
        self._status[owner] = reported
        if any(one.state is RecordState.FAILED for one in reported):
            self._retry(owner)
        elif all(one.state is RecordState.ANNOUNCED for one in reported):
            self._waits.pop(owner, None)
        self._changed(owner)

    def _retry(self, owner: Key) -> None:
        self._put_records[owner] = None
        if owner not in self._retries:
            waits = self._waits.setdefault(owner, pauses(FIRST_RETRY, LONGEST_RETRY))
            loop = asyncio.get_running_loop()
            self._retries[owner] = loop.call_later(next(waits), self._enqueue, owner)

    def _clear_retry(self, owner: Key) -> None:
        """Cancel the retry of an owner: its new records may not fail."""
        self._waits.pop(owner, None)
        if timer := self._retries.pop(owner, None):
            timer.cancel()
