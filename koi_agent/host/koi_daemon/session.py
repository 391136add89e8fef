"""The session of a provider with a Koi daemon: what all capabilities share.

A capability gives a function that turns its records into entries. The session sends them, compares
them with the daemon from time to time, and ends with the daemon. Nothing is removed when a session
is lost: the daemon has kept its entries, or has lost all.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import uniform
from typing import Final, Generic, Never, TypeVar

from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.plan.records import Record
from koi_agent.host.koi_daemon.credential import source_of
from koi_agent.host.koi_daemon.daemon import Daemon
from koi_agent.host.koi_daemon.decisions import Bodies
from koi_agent.host.koi_daemon.intents import Intents
from koi_agent.host.koi_daemon.keeper import Keeper
from koi_agent.host.koi_daemon.kinds import Kind, Outcome
from koi_agent.host.koi_daemon.presence import reached, wait_for_end
from koi_agent.host.koi_daemon.settings import KoiSettings
from koi_agent.timeouts import set_within, timeout

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)

NAME: Final = "koi"
"""The name of the provider."""
GATHER: Final = 0.05
"""Seconds from a change to the requests: later changes are sent with it."""
LOOK: Final = 60.0
"""Seconds between two comparisons with the entries of the daemon."""
LOOK_OF_ENTRY: Final = 0.05
"""Seconds by which each entry delays the next comparison."""
RELEASE: Final = 8.0
"""Seconds to remove all entries at the end."""
RELEASES: Final = 4
AGAIN: Final = 1.0
"""Number of attempts to remove all entries, and the seconds between them: a request may be late."""
_PENDING: Final = Outcome(RecordState.WANTED, "it is sent to the Koi daemon")


@frozen(kw_only=True)
class Entry:
    """The entry of one record: its ``key``, or its ``outcome`` if there is no entry.

    ``title`` is that of the record. ``note`` is the difference from the record, "" for none.
    """

    title: str
    key: str = ""
    outcome: Outcome | None = None
    note: str = ""


@frozen(kw_only=True)
class Plan:
    """The bodies of entries by key, and the entries of each owner, one for each record."""

    bodies: Mapping[str, str]
    entries: Mapping[Key, Sequence[Entry]]


Recorded = Callable[[str], Bodies]
"""Returns the bodies that were sent for a key: if several are possible, these are kept."""
Planner = Callable[[Daemon, Mapping[Key, Sequence[R]], Recorded], Awaitable[Plan]]
"""Turns the records of all owners into entries; it may ask the daemon."""


class KoiSession(Generic[R]):
    """The entries of one kind in one run of a daemon."""

    def __init__(self, daemon: Daemon, keeper: Keeper, planner: Planner[R], report: Report) -> None:
        self.daemon = daemon
        self.keeper = keeper
        self._planner = planner
        self._report = report
        self._records: dict[Key, Sequence[R]] = {}
        self._entries: dict[Key, Sequence[Entry]] = {}
        self._reported: dict[Key, Sequence[RecordStatus]] = {}
        self.passed = asyncio.Event()
        """Set after each comparison with the daemon; the task that waits for it clears it."""
        self._woken = asyncio.Event()
        self._is_complete = False

    async def put(self, owner: Key, records: Sequence[R]) -> None:
        """Set the records of an owner; they are sent within ``GATHER``."""
        self.set(owner, records)

    def set(self, owner: Key, records: Sequence[R]) -> None:
        """Set the records of an owner, as ``put`` does."""
        if is_new := self._records.get(owner, ()) != records:
            self._entries.pop(owner, None)
        if records:
            self._records[owner] = records
        else:
            self._records.pop(owner, None)
        self._reported.pop(owner, None)
        self._report_on(owner)
        if is_new:  # an entry that failed is sent again when it is due
            self._woken.set()

    def complete(self) -> None:
        """Remove the entries of an earlier run that are no longer wanted."""
        self._is_complete = True
        self._woken.set()

    def wake(self) -> None:
        """Compare with the daemon now."""
        self._woken.set()

    async def run(self) -> Never:
        """Send what changes here or at the daemon, until cancelled; raise ``ProviderLost``."""
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(wait_for_end(self.daemon), name="Koi daemon")
                while True:
                    self._woken.clear()
                    if await self._pass():
                        await self._wait()
                    await asyncio.sleep(GATHER)
        raise AssertionError("entries are sent until the task is cancelled")

    async def _pass(self) -> bool:
        """Send what differs, and report; return False if another pass must follow."""
        records = dict(self._records)
        plan = await self._planner(self.daemon, records, self.keeper.recorded)
        self.keeper.set_wanted(plan.bodies)
        is_done = await self.keeper.converge(is_complete=self._is_complete)
        self.passed.set()
        for owner, entries in plan.entries.items():
            if self._records.get(owner) is records[owner]:
                self._entries[owner] = entries
        for owner in self._records:
            self._report_on(owner)
        return is_done

    async def _wait(self) -> None:
        """Wait for a change or the next comparison. Its time differs between agents.

        Without entries, there is no comparison.
        """
        if self._is_complete and self.keeper.is_empty():
            await self._woken.wait()
            return
        most = LOOK + LOOK_OF_ENTRY * len(self.keeper.wanted)
        pause = uniform(most / 2, most)  # noqa: S311 - jitter needs no secure randomness
        if (due := self.keeper.next_due()) is not None:
            pause = min(pause, due)
        await set_within(self._woken, pause)

    async def close(self) -> None:
        """Remove all entries of the agent."""
        reason = "it does not remove them"
        self.keeper.set_wanted({})
        try:
            async with timeout(RELEASE):
                for _ in range(RELEASES):
                    await self.keeper.converge(is_complete=True)
                    if self.keeper.is_empty():
                        return
                    await asyncio.sleep(AGAIN)
        except (ProviderLost, TimeoutError) as error:
            reason = str(error) or "it is too slow"
        text = "entries may stay at the Koi daemon: %s; the next start removes them"
        log.warning(text, reason)

    def _report_on(self, owner: Key) -> None:
        records = self._records.get(owner, ())
        entries = self._entries.get(owner) or [Entry(title=one.title) for one in records]
        status = [self._status(one) for one in entries]
        if records and self._reported.get(owner) != status:
            self._reported[owner] = status
            self._report(owner, status)
        if not records:
            self._reported.pop(owner, None)

    def _status(self, entry: Entry) -> RecordStatus:
        outcome = entry.outcome or (self.keeper.outcome(entry.key) if entry.key else _PENDING)
        if entry.note and outcome.state is RecordState.ANNOUNCED:
            outcome = Outcome(outcome.state, entry.note)
        return RecordStatus(
            name=entry.title, state=outcome.state, reason=outcome.reason, provider=NAME
        )


@asynccontextmanager
async def keeping(
    settings: KoiSettings,
    kind: Kind,
    planner: Planner[R],
    report: Report,
    ends_for_good: Callable[[], Awaitable[bool]],
) -> AsyncIterator[KoiSession[R]]:
    """Keep entries at a daemon until the context is left; raise ``ProviderLost``.

    They are removed if the agent ``ends_for_good``. After a restart, the next agent has them.
    """
    source = source_of(settings, os.environ)
    async with reached(source, waits=not settings.has_fallback) as daemon:
        keeper = Keeper(daemon, kind, Intents(settings.intents_file(kind.name, os.environ)))
        session = KoiSession(daemon, keeper, planner, report)
        is_lost = False
        try:
            yield session
        except ProviderLost:
            is_lost = True
            raise
        finally:
            if not is_lost and await ends_for_good():
                await session.close()
