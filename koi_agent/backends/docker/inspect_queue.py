"""Which containers are to be inspected, and which answers came too late to be believed."""

import asyncio
from collections import deque
from collections.abc import Set


class InspectQueue:
    """Ids waiting to be asked after: those an event spoke of before those only listed.

    An id is asked after by one worker at a time. What is wished again meanwhile, or spoken of
    by an event, makes the answer under way an old one: it is asked for once more.
    """

    def __init__(self) -> None:
        self._urgent: deque[str] = deque()
        self._later: deque[str] = deque()
        self._waiting: dict[str, bool] = {}  # whether urgent
        self._under_way: dict[str, bool] = {}  # whether the answer is old already
        self._filled = asyncio.Event()
        self._timers: set[asyncio.TimerHandle] = set()

    def close(self) -> None:
        """Forget what was to be wished for later."""
        for timer in self._timers:
            timer.cancel()

    def put_after(self, seconds: float, id_: str) -> None:
        """Wish for an answer about a container in a while."""

        def put() -> None:
            self._timers.discard(timer)
            self.put(id_, urgent=False)

        timer = asyncio.get_running_loop().call_later(seconds, put)
        self._timers.add(timer)

    def put(self, id_: str, *, urgent: bool) -> None:
        """Wish for an answer about a container."""
        if id_ in self._under_way:
            self._under_way[id_] = True
        elif urgent and not self._waiting.get(id_):
            self._waiting[id_] = True
            self._urgent.append(id_)
        elif id_ not in self._waiting:
            self._waiting[id_] = False
            self._later.append(id_)
        self._filled.set()

    def spoken(self, id_: str) -> None:
        """Note that something is newer than the answer under way, if there is one."""
        if id_ in self._under_way:
            self._under_way[id_] = True

    def not_listed(self, ids: Set[str]) -> None:
        """Note that a list, but for ``ids``, is newer than the answers under way."""
        for id_ in self._under_way.keys() - ids:
            self._under_way[id_] = True

    async def take(self) -> str:
        """Wait for an id to ask after."""
        while (id_ := self.first()) is None:
            self._filled.clear()
            await self._filled.wait()
        return id_

    def first(self) -> str | None:
        """Take the id that is to be asked after next, if there is one."""
        while self._urgent or self._later:
            id_ = (self._urgent or self._later).popleft()
            if self._waiting.pop(id_, None) is not None:  # else it was urgent, and asked after
                self._under_way[id_] = False
                return id_
        return None

    def answered(self, id_: str) -> bool:
        """Note that an answer came; returns whether it is to be believed."""
        old = self._under_way.pop(id_)
        if old:
            self.put(id_, urgent=True)
        return not old
