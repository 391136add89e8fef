"""A queue of method calls; the user with the most of its ration left is answered first.

A user has one ration, whatever the number of its connections. Its connections take turns, and the
calls of each are answered in order. A call waits until the user of its sender is known.

The calls of one read can take seconds to answer, so the rest of the agent runs in between. No
call is answered before the bus has read most of the replies so far. Otherwise a client that
calls and does not read would fill the memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Never

from koi_agent.bus.client import Connection
from koi_agent.bus.messages import Message
from koi_agent.core.ration import BURST, SHARE, Ration
from koi_agent.core.shares import Shares
from koi_agent.timeouts import set_within

TIME_SLICE = 0.005
"""Seconds of answering before other tasks run."""
QUEUE_LIMIT, KEPT, USER_LIMIT = 16 * 1024 * 1024, 2 * 1024 * 1024, 4 * 1024 * 1024
"""Bytes of calls that may be queued, those kept for privileged users, and those of one user."""
SENDER_LIMIT = 1024 * 1024
"""Bytes of calls that may be queued of one sender."""
UNKNOWN_LIMIT, UNKNOWN_SENDER_LIMIT = 16 * 1024 * 1024, 64 * 1024
"""The same for all senders, and for one sender, whose users are not known yet."""
CALL_OVERHEAD = 512
"""Bytes that a queued call takes besides its arguments."""
CALL_COST = 0.0001
"""Seconds that a call takes besides its answer: to read it, and the bus to pass it on."""

Entry = tuple[Connection, Message]


class CallQueue:
    """``answer`` is called for each call and its uid, and must not raise.

    If it returns a task, no other call is answered before the task ends. ``now`` returns a time in
    seconds.
    """

    def __init__(
        self,
        answer: Callable[[Connection, Message, int], asyncio.Future[None] | None],
        privileged: Collection[int],
        is_held: Callable[[int], bool],
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._answer = answer
        self._is_held = is_held
        self._now = now
        self._ration = Ration(SHARE, BURST, now, privileged)
        self._calls: dict[int, dict[str, deque[Entry]]] = {}
        self._waiting: dict[str, deque[Entry]] = {}
        self._privileged = privileged
        self._reset_sizes()
        self._changed = asyncio.Event()

    def _reset_sizes(self) -> None:
        self._of_users = Shares(QUEUE_LIMIT, USER_LIMIT, kept=KEPT, privileged=self._privileged)
        self._of_senders = Shares(QUEUE_LIMIT, SENDER_LIMIT)
        self._unknown = Shares(UNKNOWN_LIMIT, UNKNOWN_SENDER_LIMIT)

    def add(self, connection: Connection, message: Message, uid: int | None) -> bool:
        """Queue a call, for ``None`` until ``assign`` has the uid; return False if it is full."""
        sender, size = message.header.sender, _size(message)
        if uid is None:
            if not self._unknown.fits(sender, size):
                return False
            self._unknown.add(sender, size)
            self._waiting.setdefault(sender, deque()).append((connection, message))
            return True
        if not (self._of_users.fits(uid, size) and self._of_senders.fits(sender, size)):
            return False
        self._of_users.add(uid, size)
        self._of_senders.add(sender, size)
        calls = self._calls.setdefault(uid, {})
        calls.setdefault(sender, deque()).append((connection, message))
        self._changed.set()
        return True

    def assign(self, sender: str, uid: int) -> Sequence[Entry]:
        """Queue the waiting calls of a sender for its user; return those that do not fit."""
        entries = self._waiting.pop(sender, ())
        for _, message in entries:
            self._unknown.remove(sender, _size(message))
        return [entry for entry in entries if not self.add(*entry, uid)]

    def drop(self, sender: str) -> None:
        """Drop all calls of a sender."""
        for _, message in self._waiting.pop(sender, ()):
            self._unknown.remove(sender, _size(message))
        for uid, senders in list(self._calls.items()):
            for _, message in senders.pop(sender, ()):
                self._remove(uid, message)
            if not senders:
                del self._calls[uid]

    def clear(self) -> None:
        """Drop all calls."""
        self._calls.clear()
        self._waiting.clear()
        self._reset_sizes()

    def wake(self) -> None:
        """Check again which users are held."""
        self._changed.set()

    async def run(self) -> Never:
        """Answer calls until cancelled."""
        while True:
            await self._answerable()
            until = self._now() + TIME_SLICE
            while (uid := self._first()) is not None and self._now() < until:
                await self._answer_one(uid)
            await asyncio.sleep(0)

    async def _answer_one(self, uid: int) -> None:
        """Answer a call, and wait until the bus has read most of the reply."""
        began = self._now()
        connection, message = self._pop(uid)
        if task := self._answer(connection, message, uid):
            await asyncio.wait([task])
        await connection.drain()
        self._ration.spend(uid, self._now() - began + CALL_COST)

    async def _answerable(self) -> None:
        """Wait until a call can be answered."""
        while self._first() is None:
            self._changed.clear()
            pauses = [self._pause(uid) for uid in self._calls if not self._is_held(uid)]
            await set_within(self._changed, min(pauses, default=None))

    def _first(self) -> int | None:
        """Return the user whose call is answered first, ``None`` if all wait.

        It is the user that has the most of its ration left.
        """
        ready = [uid for uid in self._calls if not (self._is_held(uid) or self._pause(uid))]
        return max(ready, key=self._ration.left, default=None)

    def _pause(self, uid: int) -> float:
        """Return the seconds for which the calls of a user wait, because its ration is used up.

        A single call never waits: its user waits for the reply before its next call.
        """
        senders = self._calls[uid]
        one = len(senders) == 1 and len(next(iter(senders.values()))) == 1
        return 0 if one else self._ration.pause(uid)

    def _pop(self, uid: int) -> Entry:
        """Return the next call of a user; its senders have turns."""
        senders = self._calls.pop(uid)
        sender = next(iter(senders))
        calls = senders.pop(sender)
        entry = calls.popleft()
        self._remove(uid, entry[1])
        if calls:
            senders[sender] = calls
        if senders:
            self._calls[uid] = senders
        return entry

    def _remove(self, uid: int, message: Message) -> None:
        self._of_users.remove(uid, _size(message))
        self._of_senders.remove(message.header.sender, _size(message))


def _size(message: Message) -> int:
    return CALL_OVERHEAD + len(message.body)
