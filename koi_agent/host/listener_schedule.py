"""When to read the listeners of the host: several times after each start."""

import math
from typing import Final


class ListenerSchedule:
    """The times at which listeners are read, with one reading for all owners that have started.

    A service opens its ports a while after it has started, and the kernel does not report that. So
    they are read soon after each start, and then at growing intervals, as long as the owner, a unit
    or a container, runs. All times are the caller's monotonic seconds.

    All readings that are due in one tenth of a second are done as one. Readings a second or more
    after a start are delayed to the next multiple of a quarter of their delay, so that many starts
    share them. There are at most ten readings a second.
    """

    AFTER_START: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    SPACING: Final = 0.1
    PERIOD_SHARE: Final = 0.25
    DURATION_FACTOR: Final = 20

    def __init__(self) -> None:
        # By the number of the tenth of a second in which it is due: the time, and the owners.
        self._times: dict[int, float] = {}
        self._owners: dict[int, set[str]] = {}
        self._tenths: dict[str, set[int]] = {}
        self._not_before = -math.inf

    def started(self, owner: str, now: float) -> None:
        """Schedule the readings that follow a start, instead of those of an earlier one."""
        self.ended(owner)
        for delay in self.AFTER_START:
            due, period = now + delay, delay * self.PERIOD_SHARE
            if period > self.SPACING:
                due = math.ceil(due / period) * period
            tenth = int(due / self.SPACING)
            self._times[tenth] = max(due, self._times.get(tenth, due))
            self._owners.setdefault(tenth, set()).add(owner)
            self._tenths.setdefault(owner, set()).add(tenth)

    def ended(self, owner: str) -> None:
        """Remove the readings for an owner that no longer runs."""
        for tenth in self._tenths.pop(owner, ()):
            owners = self._owners[tenth]
            owners.discard(owner)
            if not owners:
                del self._owners[tenth], self._times[tenth]

    def next_due(self) -> float:
        """Return the time of the next reading, infinity while nothing has started recently."""
        if not self._times:
            return math.inf
        return max(self._times[min(self._times)], self._not_before)

    def done(self, now: float, *, took: float = 0.0) -> None:
        """Remove the readings that were due until now, because one was done or begun.

        ``took`` is how many seconds it lasted. If a reading takes long because the host has very
        many sockets, the next one is delayed to ``DURATION_FACTOR`` times that.
        """
        for tenth in [tenth for tenth, due in self._times.items() if due <= now]:
            del self._times[tenth]
            for owner in self._owners.pop(tenth):
                tenths = self._tenths[owner]
                tenths.discard(tenth)
                if not tenths:
                    del self._tenths[owner]
        self._not_before = now + max(self.SPACING, took * self.DURATION_FACTOR)
