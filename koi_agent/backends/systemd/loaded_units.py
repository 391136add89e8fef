"""Units that systemd has loaded and that have sent no signal since."""

import math
import time

from koi_agent.backends.systemd.deadlines import Timer

LOADED = 0.2
"""Seconds after UnitNew within which a unit that starts sends PropertiesChanged."""


class LoadedUnits:
    """Units that may run without having signaled it, until they are checked.

    The first signal of a unit is UnitNew instead of PropertiesChanged. Nothing is read because of
    it: if the unit was unloaded in the meantime, that would load it again, and two agents would
    make each other do so forever. A list of the loaded units, a little later, loads nothing.
    """

    def __init__(self, timer: Timer) -> None:
        self.due = math.inf
        self._names: dict[str, str] = {}
        self._timer = timer

    def add(self, name: str, path: str, pause: float = LOADED) -> None:
        """Add a unit that must be checked after a pause, or together with an earlier one."""
        due = time.monotonic() + pause
        if not self._names or due < self.due:
            self.due = due
            self._timer.start(self.due)
        self._names[path] = name

    def discard(self, path: str) -> None:
        """Remove a unit that has sent a signal or was unloaded."""
        self._names.pop(path, None)

    def is_due(self, now: float) -> bool:
        """Return True, once, when the units must be checked."""
        if now < self.due:
            return False
        self.due = math.inf
        return bool(self._names)

    def take(self) -> dict[str, str]:
        """Return the names by path, and remove them."""
        names, self._names = self._names, {}
        return names

    def names(self) -> set[str]:
        """Return the names of the units."""
        return set(self._names.values())
