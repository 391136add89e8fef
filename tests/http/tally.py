"""Clients that send requests without a pause and without a retry, and count the responses."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from koi_agent.publishers.http.limits import Limits
from tests.http.serving import ask, client

TARGET = "/v1/runtime/instances"
PATIENT = Limits(last_request_timeout=10.0, stop_timeout=30.0)
"""Limits of a server whose clients may be slow to send their next request, on a busy machine."""


@dataclass
class Tally:
    """Responses that the clients got, by status."""

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


async def _with_new_connections(path: socket.socket, tally: Tally) -> None:
    """Send each request over a new connection."""
    while not tally.ended():
        reply = await ask(path, TARGET)
        assert reply.json
        tally.note(reply.status)


async def _with_one_connection(path: socket.socket, tally: Tally) -> None:
    """Send requests over one connection until a response says that it is the last."""
    while not tally.ended():
        async with client(path) as one:
            while True:
                reply = await one.ask(TARGET)
                assert reply.json
                tally.note(reply.status)
                if reply.headers.get("connection") == "close" or tally.ended():
                    break


@asynccontextmanager
async def asking(path: socket.socket) -> AsyncIterator[Tally]:
    """Run eight clients, four of each kind, until ``end``."""
    tally = Tally()
    async with asyncio.TaskGroup() as group:
        for number in range(8):
            kind = (_with_new_connections, _with_one_connection)[number % 2]
            tally.clients.append(group.create_task(kind(path, tally), name=kind.__name__))
        yield tally
