"""When to look who listens: after each start, since nothing tells when a port is opened."""

from typing import Final


class ListenerSchedule:
    """When to look at listeners: soon after each start and ever later, one look for all.

    A service opens its ports some time after it started, and nothing tells when. Times are the
    caller's monotonic seconds. What is due within one tenth of a second shares a look, so a
    storm of starts makes no more than ten looks a second and holds no more than 301 times.
    """

    AFTER: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    SPACING: Final = 0.1
    REST: Final = 20

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._free = float("-inf")

    def started(self, now: float) -> None:
        """Note that something started."""
        for delay in self.AFTER:
            due = now + delay
            tenth = int(due / self.SPACING)
            self._due[tenth] = max(due, self._due.get(tenth, due))

    def due(self) -> float | None:
        """Say when to look next; ``None`` while there is nothing to look for."""
        if not self._due:
            return None
        return max(self._due[min(self._due)], self._free)

    def taken(self, now: float, *, took: float = 0.0) -> None:
        """Note that a look was taken, for all that wanted one until now.

        ``took`` is how many seconds it lasted: on a host with so many sockets that a look
        takes long, the next is as much later.
        """
        self._due = {tenth: due for tenth, due in self._due.items() if due > now}
        self._free = now + max(self.SPACING, took * self.REST)
