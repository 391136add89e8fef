"""A queue of method calls: each sender's in order, and one of each sender in turn.

The calls of one read can take seconds to answer, so the rest of the agent runs in between. No
call is answered before the bus has read most of the replies so far. Otherwise a client that
calls and does not read would fill the memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Never

from koi_agent.bus.client import Connection
from koi_agent.bus.messages import Message

TIME_SLICE = 0.005
"""Seconds of answering before other tasks run."""
SENDER_LIMIT, QUEUE_LIMIT = 1024 * 1024, 16 * 1024 * 1024
"""Bytes of calls that may be queued, of one sender and of all."""
CALL_OVERHEAD = 512
"""Bytes that a queued call takes besides its arguments."""


class CallQueue:
    """``answer`` is called for each call, and must not raise."""

    def __init__(self, answer: Callable[[Connection, Message], None]) -> None:
        self._answer = answer
        self._calls: dict[str, deque[tuple[Connection, Message]]] = {}
        self._sizes: dict[str, int] = {}
        self._size = 0
        self._not_empty = asyncio.Event()

    def add(self, connection: Connection, message: Message) -> bool:
        """Queue a call; returns False if the queue is full."""
        sender, size = message.header.sender, _size(message)
        queued = self._sizes.get(sender, 0) + size
        if queued > SENDER_LIMIT or self._size + size > QUEUE_LIMIT:
            return False
        self._calls.setdefault(sender, deque()).append((connection, message))
        self._sizes[sender] = queued
        self._size += size
        self._not_empty.set()
        return True

    async def run(self) -> Never:
        """Answer calls until cancelled."""
        while True:
            await self._not_empty.wait()
            until = monotonic() + TIME_SLICE
            while self._calls and monotonic() < until:
                connection, message = self._next()
                self._answer(connection, message)
                await connection.drain()
            if not self._calls:
                self._not_empty.clear()
            await asyncio.sleep(0)

    def _next(self) -> tuple[Connection, Message]:
        sender = next(iter(self._calls))
        calls = self._calls.pop(sender)
        connection, message = calls.popleft()
        self._size -= _size(message)
        self._sizes[sender] -= _size(message)
        if calls:
            self._calls[sender] = calls
        else:
            del self._sizes[sender]
        return connection, message


def _size(message: Message) -> int:
    return CALL_OVERHEAD + len(message.body)
