"""Dead units that may be between two runs, until the manager has said whether they are."""

import math
from collections.abc import Callable, Iterable, Mapping

from koi_agent.backends.systemd.deadlines import Deadlines, Timer
from koi_agent.backends.systemd.manager import UnitStatus
from koi_agent.backends.systemd.units import Unit

COLLECT = 0.01
"""Seconds for which dead units are collected, so that one call asks about all of them. Most units
that restart have signaled it by then, and need no question. No stop is decided by this time."""
AUTO_RESTART_QUEUED = {"ActiveState": "activating", "SubState": "auto-restart-queued"}
"""The states, since version 254, of a unit whose start Restart= has queued."""


class DeadUnits:
    """Dead units; ``timer`` is started for the next question about them.

    An answer counts only for a unit without a signal since the question. Signals that are older
    than the answer are received before it, on the same connection.
    """

    def __init__(self, timer: Timer, *, unless: Callable[[str], bool]) -> None:
        """Start empty; for the paths for which ``unless`` is true the question is put off."""
        self._timer = timer
        self._unless = unless
        self._units: dict[str, Unit] = {}
        self._waiting = Deadlines(COLLECT, timer)
        self._asked: set[str] = set()
        self._is_asking = False

    def __contains__(self, path: str) -> bool:
        return path in self._units

    def paths(self) -> set[str]:
        """Return the object paths of all units."""
        return set(self._units)

    def add(self, unit: Unit) -> None:
        """Add a unit that has signaled that it is dead; an answer under way is too old for it."""
        self._asked.discard(unit.path)
        self._units[unit.path] = unit
        self._waiting.add(unit.path)

    def discard(self, unit: Unit) -> None:
        """Remove a unit that runs or that is gone."""
        self._units.pop(unit.path, None)
        self._asked.discard(unit.path)
        self._waiting.discard(unit.path)

    def must_ask(self, now: float) -> bool:
        """Return True, once until ``answered``, if it is time to ask about some units."""
        if self._is_asking or not self._waiting.passed(now, unless=self._unless):
            return False
        self._is_asking = True
        return True

    def next(self) -> float:
        """Return when to ask next, infinity for never: one question is asked at a time."""
        return math.inf if self._is_asking else self._waiting.next(unless=self._unless)

    def ask(self) -> dict[str, str]:
        """Return the names, by path, of the units to ask about."""
        self._asked = {path for path in self._waiting.paths() if not self._unless(path)}
        for path in self._asked:
            self._waiting.discard(path)
        return {path: self._units[path].name for path in self._asked}

    def answered(
        self,
        listed: Iterable[UnitStatus],
        restarts: Mapping[str, int],
        is_running: Callable[[Unit], bool],
    ) -> dict[Unit, bool]:
        """Return True for each unit that has stopped, False if Restart= has queued its start.

        ``listed`` is the answer, and ``restarts`` are NRestarts by path. Of units that run, which
        are removed too, a signal follows.
        """
        statuses = {status.path: status for status in listed}
        asked, self._asked, self._is_asking = self._asked, set(), False
        decided: dict[Unit, bool] = {}
        for unit in [self._units.pop(path) for path in asked]:
            status = statuses.get(unit.path)
            if status and _will_restart(unit, status, restarts.get(unit.path, 0)):
                unit.update(AUTO_RESTART_QUEUED)
                decided[unit] = False
            elif status is None or not is_running(Unit.listed(status)):
                decided[unit] = True
        if self._waiting.paths():  # added since the question
            self._timer.start(0)
        return decided


def _will_restart(unit: Unit, status: UnitStatus, restarts: int) -> bool:
    """Return True if Restart= has queued the start of a unit that is dead.

    systemd 252 lists such a unit as ``inactive/dead``. Restart= counts its job in NRestarts, and
    the job of a user, whose start is another run, is not counted.
    """
    is_queued = status.job_type in {"start", "restart"} and status.active_state == "inactive"
    return is_queued and restarts > unit.restarts_at_start
