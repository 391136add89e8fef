"""When to read the listeners of the host: several times after each start."""

import math
from typing import Final


class ListenerSchedule:
    """Times at which listeners are read, one reading for all that have started.

    A service opens its ports some time after it has started, and the kernel does not report
    that. So they are read soon after each start, and then at growing intervals. All times are
    the caller's monotonic seconds. Readings that are due within a tenth of a second are one:
    many starts cause at most ten readings a second, and at most 301 times are kept.
    """

    AFTER_START: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    SPACING: Final = 0.1
    DURATION_FACTOR: Final = 20

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._not_before = -math.inf

    def started(self, now: float) -> None:
        """Add the readings that follow a start."""
        for delay in self.AFTER_START:
            due = now + delay
            tenth = int(due / self.SPACING)
            self._due[tenth] = max(due, self._due.get(tenth, due))

    def next_due(self) -> float:
        """Return when to read next, infinity while nothing has started lately."""
        if not self._due:
            return math.inf
        return max(self._due[min(self._due)], self._not_before)

    def done(self, now: float, *, took: float = 0.0) -> None:
        """Remove the readings that were due until now: one was done, or was begun.

        ``took`` is how many seconds it lasted. Where a reading takes long, because the host has
        very many sockets, the next one is delayed to ``DURATION_FACTOR`` times that.
        """
        self._due = {tenth: due for tenth, due in self._due.items() if due > now}
        self._not_before = now + max(self.SPACING, took * self.DURATION_FACTOR)
