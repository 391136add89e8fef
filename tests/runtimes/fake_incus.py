"""The API of Incus on a real socket without instances behind it, which may misbehave."""

import asyncio
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from koi_agent.core.websocket import accepted
from tests.runtimes.connections import Connections
from tests.runtimes.fake_guests import FakeGuests, Record

NETWORKS: Final = [
    {"name": "br0", "project": "default", "managed": True, "type": "bridge"},
    {"name": "eth0", "managed": False, "type": "physical"},
    {"name": "ovn", "project": "p 2", "managed": True, "type": "ovn"},
]
_KEY: Final = re.compile(r"Sec-WebSocket-Key: (\S+)", re.IGNORECASE)


@dataclass
class Faults:
    """How a server misbehaves; endpoints are server, list, instance and events."""

    silent: set[str] = field(default_factory=set)
    """Endpoints that read a request and never respond."""
    statuses: dict[str, deque[int]] = field(default_factory=dict)
    """HTTP error statuses of the next responses."""
    bodies: dict[str, deque[Callable[[bytes], bytes]]] = field(default_factory=dict)
    """Functions for the bodies of the next responses. A shorter body is cut off in the middle."""
    delays: dict[str, deque[float]] = field(default_factory=dict)
    """Seconds that the next responses take after they are made."""
    messages: deque[Callable[[bytes], list[bytes]]] = field(default_factory=deque)
    """Functions for the next events."""
    holds_events: bool = False
    """Whether events are held until ``release``."""


class FakeIncus:
    """One server, used as a context manager."""

    def __init__(self, path: Path, *, server: str = "incus", member: str = "") -> None:
        self.path = path
        self.faults = Faults()
        self.guests = FakeGuests(self._emit)
        self.requests: list[str] = []
        self.forwards: list[Record] = []
        self._environment = {"server": server, "server_version": "6.0.4"}
        if member:
            self._environment |= {"server_clustered": True, "server_name": member}  # type: ignore[dict-item]
        self._streams: set[asyncio.StreamWriter] = set()
        self._held: list[bytes] = []
        self._connections = Connections(self._serve)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen, like a daemon that starts."""
        await self._connections.listen_at(self.path)

    async def close(self) -> None:
        """Close all connections, like a daemon that is killed."""
        self._connections.refuse()
        self.path.unlink(missing_ok=True)
        self.cut()
        await self._connections.end()

    # Events

    def is_followed(self) -> bool:
        """Return True if a client reads events."""
        return bool(self._streams)

    def _emit(self, event: Record) -> None:
        message = json.dumps(event).encode()
        messages = self.faults.messages
        self._held += messages.popleft()(message) if messages else [message]
        if not self.faults.holds_events:
            self.release()

    def release(self) -> None:
        """Send the events that were held."""
        held, self._held = self._held, []
        for message in held:
            self.send(message)

    def send(self, message: bytes) -> None:
        """Send a message to all that read events."""
        self.send_frame(frame(0x1, message))

    def send_frame(self, data: bytes) -> None:
        """Send bytes to all that read events."""
        for writer in self._streams:
            writer.write(data)

    def end(self) -> None:
        """Close the event streams properly."""
        self.send_frame(frame(0x8, b"\x03\xe9"))
        self._streams.clear()

    def cut(self) -> None:
        """End the event streams in the middle of a frame."""
        for writer in self._streams:
            writer.write(b"\x81\x7d{")
            writer.close()
        self._streams.clear()

    # Responses

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                await self._respond(head.split(" ")[1], head, writer)
                if writer in self._streams:
                    await reader.read()
                    return
                if "HTTP/1.0" in head:
                    return
        finally:
            self._streams.discard(writer)

    async def _respond(self, target: str, head: str, writer: asyncio.StreamWriter) -> None:
        split = urlsplit(target)
        query = parse_qs(split.query)
        match split.path.strip("/").split("/"):
            case ["1.0"]:
                await self._send_json(writer, "server", lambda: {"environment": self._environment})
            case ["1.0", "instances"]:
                await self._send_json(writer, "list", self._list)
            case ["1.0", "instances", name]:
                id_ = f"{query.get('project', ['default'])[0]}/{name}"
                await self._send_json(writer, "instance", lambda: self._instance(id_))
            case ["1.0", "networks"]:
                await self._send_json(writer, "networks", lambda: NETWORKS)
            case ["1.0", "networks", "br0", "forwards"]:
                await self._send_json(writer, "forwards", lambda: self.forwards)
            case ["1.0", "events"]:
                await self._stream(writer, head)
            case _:
                await self._send(writer, 404, b'{"type":"error","error":"not found"}')

    async def _send_json(
        self, writer: asyncio.StreamWriter, endpoint: str, make: Callable[[], Any]
    ) -> None:
        self.requests.append(endpoint)
        if await self._is_refused(writer, endpoint):
            return
        value = make()
        if delays := self.faults.delays.get(endpoint):
            await asyncio.sleep(delays.popleft())
        if value is None:
            await self._send(writer, 404, b'{"type":"error","error":"Instance not found"}')
            return
        body = json.dumps({"type": "sync", "metadata": value}).encode()
        whole = len(body)
        if bodies := self.faults.bodies.get(endpoint):
            body = bodies.popleft()(body)
            whole = max(whole, len(body))
        await self._send(writer, 200, body, whole)

    async def _is_refused(self, writer: asyncio.StreamWriter, endpoint: str) -> bool:
        if endpoint in self.faults.silent:
            await asyncio.Event().wait()
        if statuses := self.faults.statuses.get(endpoint):
            await self._send(writer, statuses.popleft(), b'{"type":"error","error":"broken"}')
            return True
        return False

    async def _send(
        self, writer: asyncio.StreamWriter, status: int, body: bytes, whole: int | None = None
    ) -> None:
        length = len(body) if whole is None else whole
        head = f"HTTP/1.1 {status} So\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
        if length > len(body):
            writer.close()
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter, head: str) -> None:
        self.requests.append("events")
        if await self._is_refused(writer, "events"):
            return
        found = _KEY.search(head)
        if not found:
            await self._send(writer, 400, b"Bad Request")
            return
        fields = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        proof = f"Sec-WebSocket-Accept: {accepted(found[1])}"
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\n{fields}{proof}\r\n\r\n".encode())
        self._streams.add(writer)

    def _list(self) -> list[Record]:
        return [one.record() for one in self.guests.all.values()]

    def _instance(self, id_: str) -> Record | None:
        guest = self.guests.all.get(id_)
        return guest.record() if guest else None


def frame(opcode: int, payload: bytes, *, first: int = 0x80) -> bytes:
    """Return a frame of a server."""
    length = len(payload)
    if length < 126:
        head = bytes([length])
    elif length < 2**16:
        head = bytes([126]) + length.to_bytes(2, "big")
    else:
        head = bytes([127]) + length.to_bytes(8, "big")
    return bytes([first | opcode]) + head + payload
