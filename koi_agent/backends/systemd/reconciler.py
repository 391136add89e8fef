"""All units that run, by the manager's own list: at the start, in doubt, and once a minute.

A list tells names and states only. Of a unit not known yet the rest is asked; of a known one
whose files were read again what is news goes out as an event. What is left, a unit that the
list has and no signal told of, or the other way round, is for the registry to judge.
"""

import asyncio
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from koi_agent.backends.systemd.manager import SERVICE, UNIT, Manager, each
from koi_agent.backends.systemd.sockets import WANTED
from koi_agent.backends.systemd.tracker import Tracker
from koi_agent.backends.systemd.units import ACTIVE, Unit, unit_name
from koi_agent.config import SystemdConfig
from koi_agent.core.instance import Instance
from koi_agent.host.listeners import ListenerTable

STANDING = (
    (UNIT, "InvocationID"),
    (UNIT, "FreezerState"),
    (SERVICE, "MainPID"),
    (SERVICE, "NRestarts"),
)
"""What a unit's signals would have said, had they been heard."""

Row = list[Any]


class Reconciler:
    """Asks, and tells the tracker; all raise ``BackendLost``."""

    def __init__(
        self, config: SystemdConfig, queries: Manager, tracker: Tracker, census: ListenerTable
    ) -> None:
        self._patterns = [*config.units, "*.socket"]
        self._exited = config.track_exited
        self._queries = queries
        self._tracker = tracker
        self._census = census
        self._looking = asyncio.Lock()
        self._seeing = asyncio.Lock()

    async def list(self) -> tuple[list[Instance], set[str]]:
        """List what runs; the second are names of which events will say more."""
        tracker = self._tracker
        async with self._looking:
            tracker.heard.clear()
            rows = await self._queries.units(self._patterns)
            tracker.loaded.clear()  # the list has looked at them
            self._close_sockets(rows)
            await each([partial(self._adopt_socket, row) for row in rows])
            await each([partial(self._adopt, row) for row in rows])
            await self.look()
            in_doubt = tracker.in_doubt()
            listed = {row[6]: row for row in rows}
            for unit in list(tracker.units.values()):
                if unit.name not in in_doubt:
                    self._compare(unit, listed.get(unit.path))
            told = [u.told for u in tracker.units.values() if u.name not in in_doubt]
        return [instance for instance in told if instance], in_doubt

    async def look(self) -> None:
        """Look at who listens where and what has begun; the tracker says what is news."""
        tracker = self._tracker
        async with self._seeing:
            began = time.monotonic()
            tracker.look_after()
            seen = await self._census.look()
            if seen is not None:
                tracker.listening(seen)
            tracker.schedule.taken(began, took=time.monotonic() - began)

    async def verify(self) -> None:
        """Look at units that were loaded and then said nothing: without loading them again."""
        tracker = self._tracker
        async with self._looking:
            loaded = dict(tracker.loaded)
            tracker.loaded.clear()
            if not loaded:
                return
            tracker.heard.clear()
            for row in await self._queries.units(list(loaded.values())):
                await self._adopt(row)
                unit = tracker.units.get(row[6])
                if unit and not unit.told:
                    tracker.judge(unit)
            # A list may have left them out as in doubt, and be it since before a loss.
            for path in loaded.keys() - tracker.units.keys():
                tracker.absent(loaded[path])

    async def open_socket(self, name: str, path: str) -> None:
        """Ask for a socket's properties; its services have its ports."""
        tracker = self._tracker
        values = await self._queries.properties(path, WANTED)
        tracker.retell(tracker.sockets.opened(name, values))
        if values.get("Accept"):
            for unit in list(tracker.units.values()):
                if not tracker.patterns.match(unit.name):
                    tracker.bury(unit)
        if followed := tracker.units.get(path):
            tracker.answered(followed, await tracker.files.ask(self._queries, followed))
        tracker.asking.discard(path)

    def _close_sockets(self, rows: Iterable[Row]) -> None:
        """Close what listens no more, where its last signal was lost in a reload."""
        tracker = self._tracker
        heard = {unit_name(path) for path in tracker.heard}
        listening = {row[0] for row in rows if row[3] in ACTIVE}
        for name in tracker.sockets.names() - listening - heard:
            tracker.retell(tracker.sockets.closed(name))

    async def _adopt_socket(self, row: Row) -> None:
        unit = _listed(row)
        if not unit.name.endswith(".socket") or unit.active not in ACTIVE:
            return
        if not self._tracker.sockets.fresh(unit.name):
            await self.open_socket(unit.name, unit.path)

    async def _adopt(self, row: Row) -> None:
        """Learn of a listed unit what the list does not say, where that is not known."""
        tracker = self._tracker
        unit = _listed(row)
        runs = unit.runs(track_exited=self._exited)
        if not runs or not tracker.patterns.match(unit.name):
            return
        if known := tracker.units.get(unit.path):
            if not tracker.files.fresh(unit.name):
                tracker.answered(known, await tracker.files.ask(self._queries, known))
            return
        unit.note(await self._queries.properties(unit.path, STANDING))
        unit.group = (await tracker.files.ask(self._queries, unit)).control_group
        if unit.path not in tracker.heard and tracker.patterns.match(unit.name):
            tracker.units[unit.path] = unit

    def _compare(self, unit: Unit, row: Row | None) -> None:
        """Believe the list of a unit that no event spoke of meanwhile."""
        tracker = self._tracker
        if row:
            unit.note({"ActiveState": row[3], "SubState": row[4]})
        if row is None or not unit.runs(track_exited=self._exited):
            tracker.forget(unit)
        elif details := tracker.files.get(unit.name):
            first = unit.told is None
            unit.say(tracker.instance(unit, details))
            if first:
                tracker.begun(unit)


def _listed(row: Row) -> Unit:
    """Read name, state and path out of a row of ListUnits."""
    return Unit(name=row[0], path=row[6], active=row[3], sub=row[4])
