"""The engine of the OUT side: keeps one provider in agreement with what is wanted, for ever.

It is told what is wanted now, never what to do: what differs from what was made so is made so,
key by key. What fails is tried again, alone, ever less often; when the provider is lost, all is
made anew with the next one. Providers know nothing of all this.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Never

from koi_agent.core.backoff import pauses
from koi_agent.core.contracts import Provider, ProviderSession
from koi_agent.core.errors import ProviderLost, ProviderRefused, ungrouped
from koi_agent.core.instance import Standing
from koi_agent.core.message_ids import MessageId, journal_fields
from koi_agent.core.plan.records import Record, Told

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds between attempts to reach a provider."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
"""Seconds between attempts to make one key's records known."""
PATIENCE = 10.0
"""Seconds a provider may take for the records of one key."""
STEADY = 10.0
"""Seconds that a session must last for its loss to count as a first one."""
WORKERS = 8
"""Keys on their way at one time: one that is slow holds up no other."""


class Feed:
    """Feeds ``provider`` for ``capability``; ``changed`` is told the keys whose standing changed.

    Without a provider everything is held. It is connected to when there is something for it.
    """

    def __init__(
        self, capability: str, provider: Provider | None, changed: Callable[[str], None]
    ) -> None:
        self.capability = capability
        self._provider = provider
        self._changed = changed
        self._wanted: dict[str, tuple[Record, ...]] = {}
        self._made: dict[str, tuple[Record, ...] | None] = {}  # None: nobody knows
        self._told: dict[str, Sequence[Told]] = {}
        self._trouble = ""
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._busy: set[str] = set()
        self._waits: dict[str, Iterator[float]] = {}
        self._retries: dict[str, asyncio.TimerHandle] = {}
        self._feeding: asyncio.Task[str] | None = None
        self._renewed = asyncio.Event()
        self._open = False
        self._needed = asyncio.Event()

    def want(self, key: str, records: tuple[Record, ...]) -> None:
        """Say which records of a key are wanted from now on; it may be none."""
        if self._wanted.get(key, ()) == records:
            return
        if records:
            self._wanted[key] = records
            self._needed.set()
        else:
            del self._wanted[key]
        self._told.pop(key, None)
        self._forgive(key)
        self._due(key)

    def standing(self, key: str) -> Sequence[Told]:
        """Tell what became of the records of a key."""
        records = self._wanted.get(key, ())
        if key in self._told and records:
            return self._told[key]
        status = Standing.WANTED if self._provider else Standing.HELD
        return [Told(name=r.title, status=status, reason=self._reason) for r in records]

    @property
    def _reason(self) -> str:
        if self._provider is None:
            return "turned off"
        return "" if self._open else self._trouble or self._provider.absence

    def renew(self, provider: Provider | None) -> None:
        """Feed another provider from now on; what the one before made known is withdrawn."""
        self._provider = provider
        self._trouble = ""
        self._renewed.set()
        if self._feeding:
            self._feeding.cancel()

    async def run(self) -> Never:
        """Feed for ever."""
        waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
        loop = asyncio.get_running_loop()
        while True:
            self._renewed.clear()
            self._tell_all()
            began = loop.time()
            # In a task of its own, as in follow.py: only so is being renewed told from an end.
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(self._until_lost(), name=f"{self.capability} feeding")
                self._feeding = feeding
            if feeding.cancelled():  # renewed
                continue
            if loop.time() > began + STEADY:
                waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
            self._complain(feeding.result())
            await self._rest(next(waits))

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._renewed.wait()
        except TimeoutError:
            return

    def _complain(self, reason: str) -> None:
        """Say once what is said again and again."""
        level = logging.DEBUG if reason == self._trouble else logging.WARNING
        extra = journal_fields(MessageId.PROVIDER_LOST)
        log.log(level, "%s: %s; trying again", self.capability, reason, extra=extra)
        self._trouble = reason

    def _tell_all(self) -> None:
        for key in self._wanted:
            self._changed(key)

    async def _until_lost(self) -> str:
        await self._needed.wait()
        while (provider := self._provider) is None:
            await asyncio.Event().wait()  # which only being renewed ends
        try:
            await self._feed(provider)
        except ProviderLost as lost:
            return str(lost)
        finally:
            self._close()
        return "the session ended"

    async def _feed(self, provider: Provider) -> None:
        async with provider.session(self._report) as session:
            self._open = True
            for key in self._wanted:
                self._due(key)
            with ungrouped(ProviderLost):
                async with asyncio.TaskGroup() as group:
                    for number in range(WORKERS):
                        work = self._work(session)
                        group.create_task(work, name=f"{self.capability} worker {number}")
                    await session.run()

    def _close(self) -> None:
        """Forget what was made known: it went with the session."""
        self._open = False
        for timer in self._retries.values():
            timer.cancel()
        self._retries.clear()
        self._waits.clear()
        self._made.clear()
        self._told.clear()
        self._busy.clear()
        self._queued.clear()
        self._queue = asyncio.Queue()

    def _due(self, key: str) -> None:
        """Have a key's records made known in turn, unless that is under way."""
        self._retries.pop(key, None)
        if self._open and key not in self._queued and key not in self._busy:
            self._queued.add(key)
            self._queue.put_nowait(key)

    async def _work(self, session: ProviderSession) -> None:
        while True:
            key = await self._queue.get()
            self._queued.discard(key)
            records = self._wanted.get(key, ())
            if records == self._made.get(key, ()):
                continue
            self._busy.add(key)
            trouble = await self._put(session, key, records)
            self._busy.discard(key)
            if self._wanted.get(key, ()) != records:
                self._due(key)
            elif trouble:
                self._fail(key, records, trouble)
            elif self._made.get(key, ()) != records and key not in self._retries:
                self._due(key)
            self._changed(key)

    def _fail(self, key: str, records: Sequence[Record], reason: str) -> None:
        failed = Standing.FAILED
        self._report(key, [Told(name=r.title, status=failed, reason=reason) for r in records])
        self._retry(key)

    async def _put(self, session: ProviderSession, key: str, records: tuple[Record, ...]) -> str:
        """Make records known; returns what went wrong."""
        self._made[key] = records
        try:
            async with asyncio.timeout(PATIENCE):
                await session.put(key, records)
        except ProviderRefused as refused:
            return str(refused)
        except TimeoutError:
            return f"no answer within {PATIENCE:.0f} s"
        if not records:
            self._made.pop(key, None)
        return ""

    def _report(self, key: str, told: Sequence[Told]) -> None:
        """Take a session's word on the records of a key; what failed is tried again."""
        if not self._wanted.get(key):
            return
        self._told[key] = told
        if any(one.status is Standing.FAILED for one in told):
            self._retry(key)
        elif all(one.status is Standing.ANNOUNCED for one in told):
            self._waits.pop(key, None)
        self._changed(key)

    def _retry(self, key: str) -> None:
        self._made[key] = None
        if key not in self._retries:
            waits = self._waits.setdefault(key, pauses(FIRST_RETRY, LONGEST_RETRY))
            loop = asyncio.get_running_loop()
            self._retries[key] = loop.call_later(next(waits), self._due, key)

    def _forgive(self, key: str) -> None:
        """Forget that something failed: what is wanted now may not."""
        self._waits.pop(key, None)
        if timer := self._retries.pop(key, None):
            timer.cancel()
