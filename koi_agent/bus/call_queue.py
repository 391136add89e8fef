"""Calls that wait to be answered: each sender's in order, and one of each sender in turn.

What comes in one read may take seconds to answer; so much may wait, and so much is done
before the rest of the agent goes on. Answers wait for the bus to take those before them, or
whoever asks much and reads nothing would fill our memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Never

from koi_agent.bus.client import Connection
from koi_agent.bus.messages import Message

TURN = 0.005
"""Seconds of answering before others get a turn."""
WAITING_A_SENDER, WAITING_IN_ALL = 1024 * 1024, 16 * 1024 * 1024
"""Bytes of calls that may wait."""
CALL_COST = 512
"""Bytes that a call costs besides its arguments."""


class CallQueue:
    """The queue; ``answer`` is called for each call and must not raise."""

    def __init__(self, answer: Callable[[Connection, Message], None]) -> None:
        self._answer = answer
        self._waiting: dict[str, deque[tuple[Connection, Message]]] = {}
        self._sizes: dict[str, int] = {}
        self._size = 0
        self._work = asyncio.Event()

    def add(self, link: Connection, message: Message) -> bool:
        """Queue a call; False where too much waits already."""
        sender, size = message.header.sender, _size(message)
        waiting = self._sizes.get(sender, 0) + size
        if waiting > WAITING_A_SENDER or self._size + size > WAITING_IN_ALL:
            return False
        self._waiting.setdefault(sender, deque()).append((link, message))
        self._sizes[sender] = waiting
        self._size += size
        self._work.set()
        return True

    async def run(self) -> Never:
        """Answer, until cancelled."""
        while True:
            await self._work.wait()
            until = monotonic() + TURN
            while self._waiting and monotonic() < until:
                link, message = self._next()
                self._answer(link, message)
                await link.room()
            if not self._waiting:
                self._work.clear()
            await asyncio.sleep(0)

    def _next(self) -> tuple[Connection, Message]:
        sender = next(iter(self._waiting))
        calls = self._waiting.pop(sender)
        link, message = calls.popleft()
        self._size -= _size(message)
        self._sizes[sender] -= _size(message)
        if calls:
            self._waiting[sender] = calls
        else:
            del self._sizes[sender]
        return link, message


def _size(message: Message) -> int:
    return CALL_COST + len(message.body)
