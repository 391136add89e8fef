"""Runs of units: each is started once and stopped once, whatever signals show of it."""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from koi_agent.backends.systemd.deadlines import Timer
from koi_agent.backends.systemd.freezer import FreezerWatch
from koi_agent.backends.systemd.ports import UnitPorts
from koi_agent.backends.systemd.sockets import SocketTable
from koi_agent.backends.systemd.units import BACKEND, Unit, UnitDetails
from koi_agent.core.contracts import Deliver
from koi_agent.core.events import Gone, Seen
from koi_agent.host.listener_schedule import ListenerSchedule
from koi_agent.host.sock_diag import Listener

ENDED_KEPT = 4096
"""Runs remembered as ended."""


class Runs:
    """Delivers ``Seen`` and ``Gone``, and decides when the ports of units are looked for.

    A run is one invocation of a unit, or several that Restart= makes one. When a run starts,
    its listeners are looked for by ``timer`` and its control group is watched by ``freezer``.
    ``delivered`` are the names of units that were delivered since it was cleared.
    """

    def __init__(
        self, deliver: Deliver, sockets: SocketTable, freezer: FreezerWatch, timer: Timer
    ) -> None:
        self.delivered: set[str] = set()
        self.undecided: set[str] = set()
        """Names that the last list left to signals, although it is not known that they run."""
        self._deliver_change = deliver
        self._ports = UnitPorts(sockets)
        self._freezer = freezer
        self._timer = timer
        self._listener_schedule = ListenerSchedule()
        # By invocation id, the times at which they started.
        self._ended: OrderedDict[bytes, float] = OrderedDict()
        self._known_before = time.monotonic()
        """Runs that started earlier have been seen, or belong to the time before this session."""

    def report(self, unit: Unit, details: UnitDetails) -> bool:
        """Deliver a unit that runs, if it has changed; returns True if it was not running."""
        if unit.reported and unit.was_restarted():
            self._end(unit.reported.invocation_id, 0)
            self._deliver_gone(unit.name, "restarted")
            unit.reported = None
        before = unit.reported
        self.store(unit, details)
        if unit.reported and unit.reported != before:
            self._deliver(Seen(unit.reported))
        return before is None

    def store(self, unit: Unit, details: UnitDetails) -> None:
        """Store a unit that runs as reported, without delivering it."""
        unit.control_group = details.control_group
        before = unit.reported
        ports = self._ports.of(unit.name, details.metadata)
        now = unit.instance(details, ports, self._ports.of_sockets(unit.name))
        unit.reported = now
        if before is None or before.invocation_id != now.invocation_id:
            unit.restarts_at_start = unit.n_restarts
        if before is None or (before.invocation_id, before.control_group) != (
            now.invocation_id,
            now.control_group,
        ):
            self._listener_schedule.started(unit.name, time.monotonic())
            self._timer.start(self._listener_schedule.next_due())
            self._freezer.unit_started(unit.path, unit.control_group)

    def report_stop(self, unit: Unit, details: UnitDetails) -> None:
        """Deliver that a unit has stopped, and before that the start of a short run."""
        if not unit.reported and not unit.is_short_run:
            return
        self._end(unit.invocation_id, unit.started_at)
        if not unit.reported:
            self._deliver(Seen(unit.instance(details)))
        self._deliver_gone(unit.name, unit.active_state)

    def has_run(self, unit: Unit, *, is_read: bool) -> bool:
        """Return True if a dead unit has a run whose end was not delivered.

        It was delivered as running, or ``is_read`` and will be. Or only its end was received:
        signals of one read count by their last values, and a run may start and end within one.
        """
        if unit.reported or self.has_ended(unit):
            return bool(unit.reported)
        is_new = unit.started_at > self._known_before
        unit.is_short_run = unit.is_short_run or (is_new and bool(unit.invocation_id))
        return is_read or unit.is_short_run

    def report_not_listed(self, name: str) -> None:
        """Deliver that a unit does not run; the registry may have it from an earlier session."""
        self._deliver_gone(name, "not listed")

    def report_undecided(self, name: str) -> None:
        """Deliver that a unit does not run, if the last list did not decide that."""
        if name in self.undecided:
            self.report_not_listed(name)

    def remove(self, unit: Unit) -> None:
        """End a run without delivering that, unless the last list did not decide on the unit."""
        self.report_undecided(unit.name)
        if unit.reported:
            self._end(unit.invocation_id, unit.started_at)
        unit.reported = None
        self._listener_schedule.ended(unit.name)
        self._freezer.remove(unit.path)

    def has_ended(self, unit: Unit) -> bool:
        """Return True if the end of a unit's last run was delivered."""
        return unit.invocation_id in self._ended

    def listeners_due(self, now: float) -> bool:
        """Return True, once, when the listeners must be looked for."""
        if self._listener_schedule.next_due() > now:
            return False
        self._listener_schedule.done(now)
        return True

    def next_due(self) -> float:
        """Return when the listeners must be looked for next, infinity for never."""
        return self._listener_schedule.next_due()

    def listeners_found(
        self, listeners: Sequence[Listener] | None, control_groups: Mapping[str, str], since: float
    ) -> set[str]:
        """Store the listeners of the host, None if unknown; returns units with other listeners.

        ``control_groups`` are those of all followed units, by name. ``since`` is when the
        reading of the listeners began.
        """
        changed = set()
        if listeners is not None:
            changed = self._ports.update(listeners, control_groups)
        self._listener_schedule.done(since, took=time.monotonic() - since)
        return changed

    def freezer_states(self) -> dict[str, str]:
        """Watch the freezer of runs that have started; returns FreezerState by path."""
        return self._freezer.watch_started()

    def _end(self, invocation_id: bytes, started_at: float) -> None:
        self._ended[invocation_id] = started_at
        if len(self._ended) > ENDED_KEPT:
            _, oldest = self._ended.popitem(last=False)
            self._known_before = max(self._known_before, oldest)

    def _deliver(self, change: Seen | Gone) -> None:
        id_ = change.instance.id if isinstance(change, Seen) else change.id
        self.delivered.add(id_)
        self.undecided.discard(id_)
        self._deliver_change(change)

    def _deliver_gone(self, name: str, reason: str) -> None:
        self._deliver(Gone(backend=BACKEND, id=name, reason=reason))
