"""The replies that their callers may have left unread.

The bus keeps a reply until its caller has read it. Once it keeps 127 MiB of one sender, it reads
nothing from that sender (``max_incoming_bytes`` of dbus-daemon(1)). So a caller that never reads
could stop all replies of the agent. Only the bus knows what a caller has read. It is asked when a
user may have left much unread, and the calls of that user wait meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Never

from koi_agent.core.backoff import pauses

USER_LIMIT, LIMIT = 16 * 1024 * 1024, 64 * 1024 * 1024
"""Unread bytes of one user and of all users beyond which calls wait. One reply may exceed them."""
REPLY_OVERHEAD: Final = 256
"""Bytes of a reply besides its values."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two questions while a user has too much unread."""


class UnreadReplies:
    """Bytes of replies, by user and caller, that are not known to be read.

    ``ask`` returns the bytes that the bus keeps for a caller, ``None`` if it does not answer, and
    must not raise. ``released`` is called when users may no longer have to wait. The calls of
    ``privileged`` users never wait.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[int | None]],
        released: Callable[[], None],
        privileged: Collection[int],
    ) -> None:
        self._ask = ask
        self._released = released
        self._privileged = privileged
        self._users: dict[int, dict[str, int]] = {}
        self._totals: dict[int, int] = {}
        self._exceeded = asyncio.Event()

    def add(self, uid: int, caller: str, size: int) -> None:
        """Add a reply to a caller, whose values have ``size`` bytes."""
        if uid in self._privileged:
            return
        size += REPLY_OVERHEAD
        callers = self._users.setdefault(uid, {})
        callers[caller] = callers.get(caller, 0) + size
        self._totals[uid] = self._totals.get(uid, 0) + size
        if self.exceeds(uid):
            self._exceeded.set()

    def exceeds(self, uid: int) -> bool:
        """Return True if the calls of a user wait, because it may have left too much unread.

        If all users together have, it is the one with the most that waits.
        """
        total = self._totals.get(uid, 0)
        if total < USER_LIMIT and sum(self._totals.values()) < LIMIT:
            return False
        return total >= USER_LIMIT or total == max(self._totals.values())

    def forget(self, caller: str) -> None:
        """Forget a caller that is gone: the bus has dropped its replies."""
        for uid, callers in list(self._users.items()):
            if caller in callers:
                self._set(uid, caller, 0)

    def clear(self) -> None:
        """Forget all callers, because the connection to the bus is gone."""
        self._users.clear()
        self._totals.clear()

    async def run(self) -> Never:
        """Check the users that wait, until cancelled."""
        while True:
            await self._exceeded.wait()
            self._exceeded.clear()
            waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
            while users := list(filter(self.exceeds, self._totals)):
                for uid in users:
                    await self._check(uid)
                self._released()
                if any(map(self.exceeds, users)):
                    await asyncio.sleep(next(waits))

    async def _check(self, uid: int) -> None:
        """Update what each caller of a user has left unread."""
        for caller, size in list(self._users.get(uid, {}).items()):
            unread = await self._ask(caller)
            sent_since = self._users.get(uid, {}).get(caller, 0) - size
            # A caller that has left in the meantime is forgotten already.
            if unread is not None and sent_since >= 0:
                self._set(uid, caller, min(unread, size) + sent_since)

    def _set(self, uid: int, caller: str, size: int) -> None:
        callers = self._users[uid]
        self._totals[uid] += size - callers[caller]
        callers[caller] = size
        if not size:
            del callers[caller]
        if not callers:
            del self._users[uid], self._totals[uid]
