"""Clients that send requests without a pause, never retry, and count the answers."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from koi_agent.publishers.http.connection import GRACE
from tests.http.serving import Client, Reply, client

TARGET = "/v1/runtime/instances"


@dataclass
class Tally:
    """Status codes of the answers, and how often each came."""

    met: Counter[str] = field(default_factory=Counter)
    over: bool = False
    clients: list[asyncio.Task[None]] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def ended(self) -> bool:
        return self.over

    async def more(self, count: int) -> None:
        """Wait until so many more answers came."""
        reached = self.met.total() + count
        while self.met.total() < reached:
            self._came.clear()
            await self._came.wait()

    def note(self, status: int) -> None:
        """Count an answer."""
        self.met[f"{status}"] += 1
        self._came.set()

    async def end(self) -> None:
        """Wait until each client has finished its request."""
        self.over = True
        await asyncio.wait(self.clients)


async def _hasty(path: socket.socket, tally: Tally) -> None:
    """Send each request over a new connection."""
    while not tally.ended():
        began = now()
        async with client(path) as one:
            if reply := await _answer(one, began):
                assert reply.json
                tally.note(reply.status)


async def _steady(path: socket.socket, tally: Tally) -> None:
    """Send requests over one connection until a response says ``Connection: close``."""
    while not tally.ended():
        sent = now()
        async with client(path) as one:
            while reply := await _answer(one, sent):
                assert reply.json
                tally.note(reply.status)
                if reply.headers.get("connection") == "close" or tally.ended():
                    break
                sent = now()


async def _answer(one: Client, last: float) -> Reply | None:
    """Send a request; returns None if it failed after a pause of this process since ``last``.

    A publisher that stops may close a connection that is idle for longer than ``GRACE``. On a busy
    machine this process may pause for that long.
    """
    idle = now() - last > GRACE / 2
    try:
        return await one.ask(TARGET)
    except (ConnectionError, asyncio.IncompleteReadError):
        if idle:
            return None
        raise


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def asking(path: socket.socket) -> AsyncIterator[Tally]:
    """Run eight clients, four of each kind, until ``end``."""
    tally = Tally()
    async with asyncio.TaskGroup() as group:
        for number in range(8):
            kind = (_hasty, _steady)[number % 2]
            tally.clients.append(group.create_task(kind(path, tally), name=kind.__name__))
        yield tally
