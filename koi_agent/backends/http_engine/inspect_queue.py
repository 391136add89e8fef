"""The queue of records to inspect, which knows when a running inspection is outdated."""

import asyncio
from collections import deque
from collections.abc import Callable, Set


class InspectQueue:
    """Ids of the records to inspect: urgent ones first, each by one worker at a time.

    An inspection is outdated if an event, a list or another request for it came after it began.
    ``finish`` then returns False and queues the id again.
    """

    def __init__(self) -> None:
        self._urgent: deque[str] = deque()
        self._later: deque[str] = deque()
        self._pending: dict[str, bool] = {}  # whether it is urgent
        self._running: dict[str, bool] = {}  # whether it is outdated already
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timers: set[asyncio.TimerHandle] = set()

    def close(self) -> None:
        """Cancel what ``put_after`` has scheduled."""
        for timer in self._timers:
            timer.cancel()

    def ids(self) -> Set[str]:
        """Return the ids that are queued or being inspected."""
        return self._pending.keys() | self._running.keys()

    def put_after(
        self, seconds: float, id_: str, is_wanted: Callable[[str], bool] | None = None
    ) -> None:
        """Queue an id after a while, if ``is_wanted`` returns True for it then."""

        def put() -> None:
            self._timers.discard(timer)
            if is_wanted is None or is_wanted(id_):
                self.put(id_, urgent=False)

        timer = asyncio.get_running_loop().call_later(seconds, put)
        self._timers.add(timer)

    def put(self, id_: str, *, urgent: bool) -> None:
        """Queue an id; if it is being inspected, that inspection is outdated."""
        if id_ in self._running:
            self._running[id_] = True
        elif urgent and not self._pending.get(id_):
            self._pending[id_] = True
            self._urgent.append(id_)
        elif id_ not in self._pending:
            self._pending[id_] = False
            self._later.append(id_)
        self._wake_one()

    def _wake_one(self) -> None:
        """Wake one worker: an event would wake all of them for each id."""
        while self._waiting:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)
                return

    def outdate(self, id_: str) -> None:
        """Mark a running inspection of this id, if there is one, as outdated."""
        if id_ in self._running:
            self._running[id_] = True

    def outdate_unlisted(self, listed: Set[str]) -> None:
        """Mark the running inspections of all but the listed ids as outdated."""
        for id_ in self._running.keys() - listed:
            self._running[id_] = True

    async def get(self) -> str:
        """Wait for the next id; ``finish`` must follow."""
        while (id_ := self.get_nowait()) is None:
            woken = asyncio.get_running_loop().create_future()
            self._waiting.append(woken)
            try:
                await woken
            except asyncio.CancelledError:
                if self._pending:
                    self._wake_one()  # another worker takes the id
                raise
        return id_

    def get_nowait(self) -> str | None:
        """Return the next id, or None if the queue is empty; ``finish`` must follow."""
        while self._urgent or self._later:
            id_ = (self._urgent or self._later).popleft()
            if self._pending.pop(id_, None) is not None:  # otherwise, it was in both deques
                self._running[id_] = False
                return id_
        return None

    def finish(self, id_: str) -> bool:
        """End an inspection; return False if it is outdated and was queued again."""
        outdated = self._running.pop(id_)
        if outdated:
            self.put(id_, urgent=True)
        return not outdated
