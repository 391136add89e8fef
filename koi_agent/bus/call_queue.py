"""A queue of method calls: each sender's in order, one of each user in turn.

A user has one turn however many connections it calls from, and its connections take turns among
themselves. A call waits until the user of its sender is known.

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
from koi_agent.core.shares import Shares

TIME_SLICE = 0.005
"""Seconds of answering before other tasks run."""
QUEUE_LIMIT, KEPT, USER_LIMIT = 16 * 1024 * 1024, 2 * 1024 * 1024, 4 * 1024 * 1024
"""Bytes of calls that may be queued, those kept for privileged users, and those of one user."""
SENDER_LIMIT = 1024 * 1024
"""Bytes of calls that may be queued of one sender."""
UNKNOWN_LIMIT, UNKNOWN_SENDER_LIMIT = 16 * 1024 * 1024, 64 * 1024
"""The same of all and of one sender whose user is not known yet."""
CALL_OVERHEAD = 512
"""Bytes that a queued call takes besides its arguments."""

Entry = tuple[Connection, Message]


class CallQueue:
    """``answer`` is called for each call and its uid, and must not raise."""

    def __init__(
        self, answer: Callable[[Connection, Message, int], None], privileged: Collection[int]
    ) -> None:
        self._answer = answer
        self._calls: dict[int, dict[str, deque[Entry]]] = {}
        self._waiting: dict[str, deque[Entry]] = {}
        self._privileged = privileged
        self._reset_sizes()
        self._not_empty = asyncio.Event()

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
        self._not_empty.set()
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

    async def run(self) -> Never:
        """Answer calls until cancelled."""
        while True:
            await self._not_empty.wait()
            until = monotonic() + TIME_SLICE
            while self._calls and monotonic() < until:
                connection, message, uid = self._next()
                self._answer(connection, message, uid)
                await connection.drain()
            if not self._calls:
                self._not_empty.clear()
            await asyncio.sleep(0)

    def _next(self) -> tuple[Connection, Message, int]:
        uid = next(iter(self._calls))
        senders = self._calls.pop(uid)
        sender = next(iter(senders))
        calls = senders.pop(sender)
        connection, message = calls.popleft()
        self._remove(uid, message)
        if calls:
            senders[sender] = calls
        if senders:
            self._calls[uid] = senders
        return connection, message, uid

    def _remove(self, uid: int, message: Message) -> None:
        self._of_users.remove(uid, _size(message))
        self._of_senders.remove(message.header.sender, _size(message))


def _size(message: Message) -> int:
    return CALL_OVERHEAD + len(message.body)
