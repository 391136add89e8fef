"""The engine of the IN side: keeps one backend followed for ever.

Open the event stream, list, pass changes on; list again once a minute and whenever the
session doubts what it was told; when the connection is lost, mark it so, wait a little longer
each time, and begin anew. Backends know nothing of all this.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import uniform
from typing import Never

from koi_agent.core.backoff import pauses
from koi_agent.core.changes import Absent, Change, Gone, Listing, Lost, Seen
from koi_agent.core.contracts import Backend, Session
from koi_agent.core.errors import BackendAbsent, BackendLost

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
STEADY = 60.0
"""Seconds a session must have lasted for the next loss to count as a first one."""
OPEN_TIMEOUT = 30.0
LIST_TIMEOUT = 60.0
SECOND_LOOK = 2.0
"""Seconds after which a difference that no event explains is looked at again."""

Apply = Callable[[Change], None]
Differences = Callable[[Listing], Mapping[str, str]]


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

    async def run(self) -> Never:
        """Follow for ever."""
        waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            began = time.monotonic()
            try:
                await self._follow()
            except BackendAbsent as absent:
                self._apply(Absent(backend=self.name, reason=str(absent)))
            except BackendLost as lost:
                log.warning("%s: %s; trying again", self.name, lost)
                self._apply(Lost(backend=self.name, reason=str(lost)))
            self.settled.set()
            if time.monotonic() - began > STEADY:
                waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
            await asyncio.sleep(next(waits))

    async def resync(self) -> Mapping[str, str]:
        """List now; returns what was different, as ``Registry.differences`` does.

        Raises ``BackendLost``.
        """
        if self._session is None:
            raise BackendLost(f"{self.name} is not connected")
        return await self._list(self._session)

    async def _follow(self) -> None:
        self._early = {}
        try:
            async with asyncio.timeout(OPEN_TIMEOUT) as opening:
                async with self._backend.session(self._deliver) as session:
                    opening.reschedule(None)
                    await self._list(session)
                    self._session = session
                    self.settled.set()
                    await self._keep(session)
        except TimeoutError as error:
            raise BackendLost(f"no connection within {OPEN_TIMEOUT:.0f} s") from error
        finally:
            self._session = None

    async def _keep(self, session: Session) -> None:
        """Watch over a session until it is lost, which this raises."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(session.run(), name=f"{self.name} session")
                group.create_task(self._doubt(session), name=f"{self.name} doubt")
                group.create_task(self._repair(session), name=f"{self.name} repair")
        except* BackendLost as group:
            raise group.exceptions[0] from None

    async def _doubt(self, session: Session) -> None:
        while True:
            reason = await session.doubt()
            log.debug("%s: listing again: %s", self.name, reason)
            await self._list(session)

    async def _repair(self, session: Session) -> None:
        while True:
            await asyncio.sleep(uniform(0.9, 1.1) * self._interval)  # noqa: S311 - jitter
            async with self._listing:
                first = self._differences(await self._ask(session))
            if first:
                await asyncio.sleep(SECOND_LOOK)
                await self._list(session, suspects=first)

    async def _list(
        self, session: Session, suspects: Mapping[str, str] | None = None
    ) -> Mapping[str, str]:
        """List and apply; of ``suspects``, those still different count as drift."""
        async with self._listing:
            listing = await self._ask(session)
            different = self._differences(listing)
            drifted = frozenset(suspects or ()) & different.keys()
            if drifted:
                log.warning("%s: drift, mended: %s", self.name, ", ".join(sorted(drifted)))
            self._apply(replace(listing, drifted=drifted))
            early, self._early = self._early or {}, None
            for change in early.values():
                self._apply(change)
        return different

    async def _ask(self, session: Session) -> Listing:
        """List, and note the ids that events spoke of meanwhile."""
        touched: set[str] = set()
        self._touched.append(touched)
        try:
            async with asyncio.timeout(LIST_TIMEOUT):
                listing = await session.list()
        except TimeoutError as error:
            raise BackendLost(f"no list within {LIST_TIMEOUT:.0f} s") from error
        finally:
            self._touched.remove(touched)
        return replace(listing, touched=listing.touched | touched)

    def _deliver(self, change: Seen | Gone) -> None:
        id_ = change.instance.id if isinstance(change, Seen) else change.id
        for touched in self._touched:
            touched.add(id_)
        if self._early is None:
            self._apply(change)
        else:
            self._early[id_] = change
