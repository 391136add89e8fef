"""An HTTP publisher on real sockets with a registry that tests fill, and plain clients."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from koi_agent.core.events import Change, Seen
from koi_agent.core.instance import Instance
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.registry import Registry
from koi_agent.publishers.http.agent_status import AgentStatus
from koi_agent.publishers.http.limits import DEFAULTS, Limits
from koi_agent.publishers.http.publisher import HTTPPublisher
from koi_agent.publishers.http.sse import EventStreams
from tests.unit.things import gone, listing

BACKENDS = ("systemd", "podman")
PATIENCE = 300.0
"""Seconds until a test gives up; no time limit of the product is longer."""


class Agent:
    """The agent's registry and HTTP publisher; ``status`` is that of the agent as a whole."""

    def __init__(
        self,
        *instances: Instance,
        backends: Sequence[str] = BACKENDS,
        limits: Limits = DEFAULTS,
    ) -> None:
        self.registry = Registry({name: name for name in BACKENDS})
        self.status = AgentStatus(version="1.2.3", state="running")
        self.grace = RestartGrace(60.0, time.monotonic)
        self.publisher = HTTPPublisher(self.registry, self.grace, lambda: self.status, limits)
        for backend in backends:
            self.apply(listing(backend, *(i for i in instances if i.backend == backend)))

    @property
    def streams(self) -> EventStreams:
        return self.publisher._handlers.streams

    def apply(self, change: Change) -> None:
        events = self.registry.apply(change, time.time_ns() // 1000)
        if events:
            self.grace.publish(events)
            self.publisher.publish(events)

    def update(self, instance: Instance) -> None:
        self.apply(Seen(instance))

    def remove(self, instance: Instance, reason: str = "stopped") -> None:
        self.apply(gone(instance, reason))


@asynccontextmanager
async def serving(agent: Agent, *listening: socket.socket) -> AsyncIterator[asyncio.Task[Any]]:
    """Serve until the block ends; yield the task, which can be cancelled before."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(agent.publisher.serve(listening), name="serve")
        try:
            yield task
        finally:
            task.cancel()


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection, spoken to in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, target: str, *headers: str, method: str = "GET") -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers, "", ""]
        self.writer.write("\r\n".join(lines).encode())

    async def head(self) -> Reply:
        """Read as far as the head goes; fails with the connection at its end."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Reply(status=int(first.split()[1]), headers=headers, body=b"")

    async def reply(self, method: str = "GET") -> Reply:
        head = await self.head()
        length = int(head.headers["content-length"]) if method != "HEAD" else 0
        async with asyncio.timeout(PATIENCE):
            body = await self.reader.readexactly(length)
        return Reply(status=head.status, headers=head.headers, body=body)

    async def ask(self, target: str, *headers: str, method: str = "GET") -> Reply:
        self.send(target, *headers, method=method)
        return await self.reply(method)

    async def ended(self) -> bool:
        """Return True if the server closed the connection and sent nothing."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    async def cut(self) -> bool:
        """Return True if the server closes without reading all, with or without a 400."""
        async with asyncio.timeout(PATIENCE):
            try:
                return (await self.reader.read()).startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
            except ConnectionError:
                return True

    async def chunk(self) -> bytes:
        """Read a chunk of a chunked body; empty at its end."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]


@asynccontextmanager
async def client(listening: socket.socket) -> AsyncIterator[Client]:
    """Connect to a socket."""
    address = listening.getsockname()
    if isinstance(address, tuple):
        reader, writer = await asyncio.open_connection(*address[:2])
    else:
        reader, writer = await asyncio.open_unix_connection(address)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def ask(listening: socket.socket, target: str, *headers: str, method: str = "GET") -> Reply:
    """Send one request over a new connection."""
    async with client(listening) as one:
        return await one.ask(target, *headers, method=method)


class Events:
    """The events of one stream, as a browser would read them."""

    def __init__(self, one: Client) -> None:
        self._client = one
        self._text = b""
        self.comments: list[str] = []

    async def next(self) -> dict[str, Any]:
        """Read the next event: its ``id``, ``event`` and ``data``; empty at the end."""
        while True:
            while b"\n\n" not in self._text:
                more = await self._client.chunk()
                if not more:
                    return {}
                self._text += more
            block, _, self._text = self._text.partition(b"\n\n")
            if event := self._read(block.decode()):
                return event

    def _read(self, block: str) -> dict[str, Any]:
        event: dict[str, Any] = {}
        data = []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            elif name:
                event[name] = value
            else:
                self.comments.append(value)
        if not data:
            return {}
        event["data"] = json.loads("\n".join(data))
        return event


@asynccontextmanager
async def events(listening: socket.socket, last_id: str = "") -> AsyncIterator[Events]:
    """Open a stream of events."""
    async with client(listening) as one:
        one.send("/v1/runtime/events", *([f"Last-Event-ID: {last_id}"] if last_id else []))
        head = await one.head()
        assert head.status == 200
        assert head.headers["content-type"] == "text/event-stream"
        yield Events(one)


async def until(true: Callable[[], bool]) -> None:
    """Wait for something to come true."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
