"""The units of one manager that run: the only owner of their state.

The session and the reconciler call a verb for each signal, answer, list and deadline. The table
decides what has changed and delivers it; ``next_query`` returns what it must know for that.
"""

import time
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from koi_agent.backends.systemd.deadlines import Deadlines, Timer
from koi_agent.backends.systemd.details import CONFIRM, DetailsCache, UnitRecord
from koi_agent.backends.systemd.freezer import FreezerWatch
from koi_agent.backends.systemd.loaded_units import LOADED, LoadedUnits
from koi_agent.backends.systemd.manager import UnitStatus
from koi_agent.backends.systemd.queries import Query, QueryQueue
from koi_agent.backends.systemd.runs import Runs
from koi_agent.backends.systemd.selection import Selection
from koi_agent.backends.systemd.sockets import SocketTable
from koi_agent.backends.systemd.stops import DeadUnits
from koi_agent.backends.systemd.units import Unit, UnitDetails, UnitFilter, unit_name, unit_path
from koi_agent.core.contracts import Deliver
from koi_agent.core.instance import Instance
from koi_agent.host.sock_diag import Listener


class UnitTable:
    """Units by object path; ``deliver`` gets what changes of them."""

    def __init__(self, selection: Selection, deliver: Deliver, freezer: FreezerWatch) -> None:
        self._units: dict[str, Unit] = {}
        self._changed: dict[str, Unit] = {}
        self._changed_since_listing: set[str] = set()
        self._timer = Timer()
        self._loaded = LoadedUnits(self._timer)
        self._unconfirmed = Deadlines(CONFIRM, self._timer)
        self._queries = QueryQueue()
        self._dead = DeadUnits(self._timer, unless=self._queries.is_reading)
        self._details = DetailsCache()
        self._sockets = SocketTable()
        self._runs = Runs(deliver, self._sockets, freezer, self._timer)
        self.filter = UnitFilter(selection, self._sockets.accepting)
        self._reloading = False

    def has_unit(self, path: str) -> bool:
        """Return True if a followed unit runs, or may be about to."""
        return path in self._units

    def instances(self) -> list[Instance]:
        """Return the instances that were reported and have not stopped."""
        return [unit.reported for unit in self._units.values() if unit.reported]

    @property
    def generation(self) -> int:
        """The number of a daemon-reload or unloading; with another one, what was read is old."""
        return self._details.generation

    # Signals

    def properties_changed(self, path: str, properties: Mapping[str, Any]) -> None:
        """Store properties that a unit has signaled; ``evaluate`` must follow."""
        unit = self._units[path] = self._units.get(path) or Unit(unit_name(path), path)
        self._changed_since_listing.add(path)
        if unit.update(properties) or not unit.reported or path in self._dead:
            self._changed[path] = unit  # in a burst, every second signal changes nothing
        self._loaded.discard(path)

    def evaluate(self) -> None:
        """Report what the signals of one read have changed, by their last values."""
        changed, self._changed = self._changed.values(), {}
        for unit in changed:
            if self._units.get(unit.path) is unit:  # otherwise, it was unloaded and reported
                self._evaluate(unit)

    def unit_loaded(self, name: str, path: str, pause: float = LOADED) -> None:
        """Handle UnitNew: a unit that runs without a signal is checked after a pause."""
        if not self._reloading and path not in self._units and self.filter.matches(name):
            self._loaded.add(name, path, pause)

    def unit_unloaded(self, name: str, path: str) -> None:
        """Report the end of a unit by UnitRemoved; a daemon-reload unloads all units."""
        if self._reloading:
            return
        self._loaded.discard(path)
        self._details.unloaded(name)
        self._runs.report_undecided(name)
        if unit := self._units.get(path):
            unit.unload()
            self._evaluate(unit)

    def machine_unit_changed(self, name: str) -> None:
        """Follow a unit of a machine, or report the end of one that is not followed any more."""
        unit = self._units.get(path := unit_path(name))
        if unit and not self.filter.matches(name):
            self._stopped(unit)
        self.unit_loaded(name, path, pause=0)

    def reload_started(self) -> None:
        """Ignore UnitNew and UnitRemoved until ``reload_finished``."""
        self._reloading = True

    def reload_finished(self) -> None:
        """Mark all details as old: systemd has read its files again. A list must follow."""
        self._reloading = False
        self._details.reloaded()
        self._sockets.reloaded()

    def freezer_state_changed(self, path: str, state: str) -> None:
        """Store a FreezerState that the kernel has reported, and report the unit."""
        if (unit := self._units.get(path)) and unit.freezer_state != state:
            unit.update({"FreezerState": state})
            self._evaluate(unit)

    # Answers

    async def next_query(self) -> Query:
        """Wait for the next query; its answer is given to one of the verbs below."""
        return await self._queries.next()

    def details_read(self, name: str, path: str, record: UnitRecord) -> None:
        """Store the details of a unit, and report it; a unit that died meanwhile has run."""
        self._details.store(name, record)
        self._queries.read_done(path)
        unit = self._units.get(path)
        if unit and (path in self._dead or self.filter.is_running(unit)):
            self._report(unit, record.details)
        if unit and path in self._dead:
            self._evaluate_dead(unit)

    def socket_read(self, name: str, path: str, properties: Mapping[str, Any]) -> None:
        """Store the properties of a socket, and report the services that it triggers."""
        self._queries.read_done(path)
        self._report_again(self._sockets.add(name, properties))
        for unit in [one for one in self._units.values() if not self.filter.matches(one.name)]:
            self._stopped(unit)

    def listeners_found(self, listeners: Sequence[Listener] | None, *, since: float) -> None:
        """Store the listeners of the host, read ``since`` a time, and report units' new ports."""
        for path, state in self._runs.freezer_states().items():
            self.freezer_state_changed(path, state)
        groups = {unit.name: unit.control_group for unit in self._units.values()}
        self._report_again(self._runs.listeners_found(listeners, groups, since))

    # Lists

    def listing_requested(self) -> None:
        """Remember from now on what is delivered: the follower ignores the list for those units."""
        self._runs.delivered.clear()

    def listing_started(self) -> dict[str, str]:
        """Remember from now on which units change: signals of those are newer than the list.

        Returns and forgets the names, by path, of units that were loaded without a signal. Those
        that are loaded from now on are checked again: the list may be older than they are.
        """
        self._changed_since_listing.clear()
        return self._loaded.take()

    def list_received(self, listed: Sequence[UnitStatus]) -> None:
        """Store which sockets listen. Their signals since the request are newer."""
        changed = {unit_name(path) for path in self._changed_since_listing}
        self._report_again(self._sockets.list_received(listed, changed))

    def must_read_socket(self, status: UnitStatus) -> bool:
        """Return True if a listed unit is a socket of which some properties are not known yet."""
        return status.path not in self._changed_since_listing and self._sockets.must_list(status)

    def must_read_unit(self, status: UnitStatus) -> bool:
        """Return True if a listed unit is followed and runs, and is not known or out of date."""
        known = status.path in self._units and self._details.is_current(status.name)
        followed = self.filter.matches(status.name)
        return not known and followed and self.filter.is_running(Unit.listed(status))

    def unit_found(
        self, status: UnitStatus, properties: Mapping[str, Any], record: UnitRecord
    ) -> None:
        """Add a listed unit that no signal has shown; ``compare`` reports it."""
        self._details.store(status.name, record)
        if status.path in self._changed_since_listing or not self.filter.matches(status.name):
            return
        unit = self._units[status.path] = Unit.listed(status)
        unit.update(properties)
        unit.control_group = record.details.control_group

    def compare(self, listed: Iterable[UnitStatus]) -> set[str]:
        """Store the states of a list; deliver only units that were delivered since the request.

        The list does not count for those. Returns the names of changing units: signals are newer.
        """
        changing = self._changing()
        self._runs.undecided = changing - {unit.name for unit in self._units.values()}
        statuses = {status.path: status for status in listed}
        for unit in [unit for unit in self._units.values() if unit.name not in changing]:
            status = statuses.get(unit.path) or UnitStatus(unit.name, "inactive", "dead", unit.path)
            if not (status.job_type and unit.is_restart_queued()):
                unit.update({"ActiveState": status.active_state, "SubState": status.sub_state})
            is_delivered = unit.name in self._runs.delivered
            if not self.filter.is_running(unit):
                (self._stopped if is_delivered else self._remove)(unit)
            elif details := self._details.get(unit.name):
                (self._runs.report if is_delivered else self._runs.store)(unit, details)
        return changing

    def loaded_units_listed(self, loaded: Mapping[str, str]) -> None:
        """Report which units that were loaded run, and which do not."""
        for path, name in loaded.items():
            unit = self._units.get(path)
            if unit is None:  # the registry may have it from before a loss
                self._runs.report_not_listed(name)
            elif not unit.reported:
                self._evaluate(unit)

    def dead_units(self) -> dict[str, str]:
        """Return the names, by path, of dead units that may be about to start again."""
        return self._dead.ask()

    def dead_units_listed(self, listed: Iterable[UnitStatus], restarts: Mapping[str, int]) -> None:
        """Report which of the ``dead_units`` have stopped; ``restarts`` are NRestarts by path."""
        decided = self._dead.answered(listed, restarts, self.filter.is_running)
        for unit, has_stopped in decided.items():
            (self._stopped if has_stopped else self._evaluate)(unit)

    def _changing(self) -> set[str]:
        paths = self._queries.reading() | self._dead.paths()
        paths |= self._changed_since_listing & self._units.keys()
        return {unit_name(path) for path in paths} | self._loaded.names()

    async def deadline(self) -> None:
        """Wait for the next deadline; ``deadlines_passed`` must follow."""
        await self._timer.elapsed()

    def deadlines_passed(self) -> None:
        """Handle all deadlines that have passed."""
        now = time.monotonic()
        if self._dead.must_ask(now):
            self._queries.check_stopped()
        for path in self._unconfirmed.passed(now):
            self._unconfirmed.discard(path)
            if not self._details.is_current(name := self._units[path].name):
                self._queries.read(name, path)
        if self._loaded.is_due(now):
            self._queries.check_loaded()
        if self._runs.listeners_due(now):
            self._queries.find_listeners()
        due = min(self._dead.next(), self._unconfirmed.next(), self._runs.next_due())
        self._timer.start(min(due, self._loaded.due))

    # Decisions

    def _evaluate(self, unit: Unit) -> None:
        """Report a unit by what is known of it now, or read what is not."""
        if unit.name.endswith(".socket"):
            self._report_again(self._sockets.state_changed(unit))
            if self._sockets.must_read(unit):
                self._queries.read(unit.name, unit.path)
        if not self.filter.matches(unit.name):
            self._remove(unit)
        elif self.filter.is_running(unit):
            self._dead.discard(unit)
            if details := self._details.get(unit.name):
                self._report(unit, details)
            if details is None or unit.request_control_group(details):
                self._queries.read(unit.name, unit.path)
        else:
            self._evaluate_dead(unit)

    def _evaluate_dead(self, unit: Unit) -> None:
        is_read = self._queries.is_reading(unit.path)
        if not self._runs.has_run(unit, is_read=is_read) and not unit.is_starting:
            self._remove(unit)
        elif unit.cannot_restart(self._details.get(unit.name)) and (unit.reported or not is_read):
            self._stopped(unit)
        elif unit.main_pid and unit.sub_state == "dead":
            self._dead.discard(unit)  # systemd 252 signals this of a unit that has just started
        else:
            self._dead.add(unit)

    def _report(self, unit: Unit, details: UnitDetails) -> None:
        """Deliver a unit that runs, if it has changed."""
        is_new = self._runs.report(unit, details)
        if is_new and not self._details.is_current(unit.name):
            self._unconfirmed.add(unit.path)

    def _report_again(self, names: Set[str]) -> None:
        """Deliver the named units if their ports have changed."""
        for unit in [unit for unit in self._units.values() if unit.name in names]:
            if unit.reported and (details := self._details.get(unit.name)):
                self._report(unit, details)

    def _stopped(self, unit: Unit) -> None:
        """Report that a unit has stopped, and remove it."""
        self._runs.report_stop(unit, self._details.get(unit.name) or UnitDetails())
        self._remove(unit)

    def _remove(self, unit: Unit) -> None:
        """Remove a unit without reporting it."""
        self._runs.remove(unit)
        self._units.pop(unit.path, None)
        self._dead.discard(unit)
        self._unconfirmed.discard(unit.path)
