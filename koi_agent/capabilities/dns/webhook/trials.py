"""Decides how many names are sent together, and when failed names are sent again.

After a refusal, the names of a request are sent in halves, until a refused name is alone. It is
sent again after a pause, which grows until the name is at the provider.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Final

from koi_agent.core.backoff import pauses
from koi_agent.timeouts import set_within

TOGETHER: Final = 100
"""Names in one request."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds until a name that failed is sent again."""
RATE: Final = 4.0
"""Requests in a second; as many as ``BURST`` may come at once."""
BURST: Final = 8


class Trials:
    """The names that failed."""

    def __init__(self) -> None:
        self._most: dict[str, int] = {}
        self._pauses: dict[str, Iterator[float]] = {}
        self._due: dict[str, float] = {}

    def groups(self, names: Iterable[str]) -> Iterator[Sequence[str]]:
        """Yield names in groups to send; those that never failed come first."""
        waiting = sorted(names, key=lambda name: -self._most.get(name, TOGETHER))
        while waiting:
            # The last name of a group has failed in the smallest one.
            size = next(
                at
                for at in range(min(len(waiting), TOGETHER), 0, -1)
                if at <= self._most.get(waiting[at - 1], TOGETHER) or at == 1
            )
            yield waiting[:size]
            del waiting[:size]

    def accept(self, names: Iterable[str]) -> None:
        """Send names together with others again. They fail if they do not appear."""
        for name in names:
            self._most.pop(name, None)

    def fail(self, names: Sequence[str]) -> None:
        """Send fewer of these names together, or a single one later."""
        for name in names:
            self._most[name] = max(len(names) // 2, 1)
        if len(names) == 1:
            waits = self._pauses.setdefault(names[0], pauses(FIRST_PAUSE, LONGEST_PAUSE))
            self._due[names[0]] = _now() + next(waits)

    def waits(self, name: str) -> bool:
        """Return True if a name is sent later."""
        return self._due.get(name, 0.0) > _now()

    def next_due(self) -> float | None:
        """Return the seconds until the first waiting name is sent again."""
        coming = [due - _now() for due in self._due.values() if due > _now()]
        return min(coming, default=None)

    def forget(self, name: str) -> None:
        """Forget the failures of a name, which is in order or has a new wanted state."""
        for known in (self._most, self._pauses, self._due):
            known.pop(name, None)

    def keep(self, names: Set[str]) -> None:
        """Forget all names but these."""
        for name in (self._most.keys() | self._due.keys()) - names:
            self.forget(name)


class Pace:
    """Limits the rate of requests, and ends all waiting once it is stopped."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()
        self._tokens = float(BURST)
        self._counted = _now()

    @property
    def is_stopped(self) -> bool:
        """True after ``stop``."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Begin no further request."""
        self._stopped.set()

    def resume(self) -> None:
        """Permit requests again."""
        self._stopped.clear()

    async def turn(self) -> bool:
        """Wait until a request may be sent; return False once stopped."""
        now = _now()
        self._tokens = min(BURST, self._tokens + (now - self._counted) * RATE)
        self._counted = now
        self._tokens -= 1
        return await self.sleep(-self._tokens / RATE)

    async def sleep(self, seconds: float) -> bool:
        """Wait; return False once stopped."""
        if seconds > 0 and not self.is_stopped:
            await set_within(self._stopped, seconds)
        return not self.is_stopped


def _now() -> float:
    return asyncio.get_running_loop().time()
