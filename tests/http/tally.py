"""Clients that ask without a pause, never try again, and count what they meet."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.http.serving import ask, client

TARGET = "/v1/runtime/instances"


@dataclass
class Tally:
    """What the clients met: status codes, and how often."""

    met: Counter[str] = field(default_factory=Counter)
    over: bool = False
    clients: list[asyncio.Task[None]] = field(default_factory=list)

    def ended(self) -> bool:
        return self.over

    async def end(self) -> None:
        """Let each client finish its request."""
        self.over = True
        await asyncio.wait(self.clients)


async def _hasty(path: socket.socket, tally: Tally) -> None:
    """Ask over new connections."""
    while not tally.ended():
        reply = await ask(path, TARGET)
        assert reply.json
        tally.met[f"{reply.status}"] += 1


async def _steady(path: socket.socket, tally: Tally) -> None:
    """Ask over one connection for as long as it is not said to be the last time."""
    while not tally.ended():
        async with client(path) as one:
            while True:
                reply = await one.ask(TARGET)
                assert reply.json
                tally.met[f"{reply.status}"] += 1
                if reply.headers.get("connection") == "close" or tally.ended():
                    break


@asynccontextmanager
async def asking(path: socket.socket) -> AsyncIterator[Tally]:
    """Have eight clients ask, four of each kind, until ``end``."""
    tally = Tally()
    async with asyncio.TaskGroup() as group:
        for number in range(8):
            kind = (_hasty, _steady)[number % 2]
            tally.clients.append(group.create_task(kind(path, tally), name=kind.__name__))
        yield tally
