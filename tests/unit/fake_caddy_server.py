"""A server of the fake admin API on a Unix socket, which misbehaves on request."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.unit.fake_caddy import FakeCaddy

Answer = Callable[[str, str], bytes | None]
"""Returns the bytes of a response to a method and a path, or None for the usual one."""


class CaddyServer:
    """Serves ``caddy``; ``answer`` replaces responses. ``seen`` has all requests that change.

    ``delay`` is the time in seconds from a change that is received to the change. ``unread`` has
    the requests to read that were refused. ``open`` has the connections.
    """

    def __init__(self, caddy: FakeCaddy, path: Path) -> None:
        self.caddy = caddy
        self.path = path
        self.answer: Answer = lambda _method, _path: None
        self.seen: list[tuple[str, str]] = []
        self.hosts: set[str] = set()
        self.delay = 0.0
        self.received = False
        self.unread: list[str] = []
        self.open: set[asyncio.StreamWriter] = set()
        self._idle: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """Stop as a process that is killed: the socket stays."""
        if self._server:
            self._server.close()
            self._server = None
        self.change()

    def change(self) -> None:
        """Close idle connections, as Caddy does with each change of its configuration."""
        for writer in self._idle:
            writer.transport.abort()
        self._idle.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.split("\r\n")
                method, path, version = first.split(" ")
                fields = dict(line.lower().split(":", 1) for line in lines if line)
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                self.hosts.add(fields["host"].strip())
                if version == "HTTP/1.0":
                    fields["connection"] = "close"
                if not await self._respond(writer, method, path, fields, body):
                    break
        self.open.remove(writer)
        writer.close()

    async def _respond(
        self,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        fields: dict[str, str],
        body: bytes,
    ) -> bool:
        """Respond; return True if the connection stays open."""
        made = self.answer(method, path)
        if made is not None:
            writer.write(made)
            await writer.drain()
            return False
        if method != "GET" and self.delay:
            self.received = True
            await asyncio.sleep(self.delay)
        before = self.caddy.writes
        match_ = fields.get("if-match", "").strip()
        status, value = self.caddy.request(method, path, body, match_)
        if method != "GET":
            self.seen.append((method, path))
        elif status != 200:
            self.unread.append(path)
        closes = "close" in fields.get("connection", "")
        etag = self.caddy.etag if self.caddy.has_etag else ""
        writer.write(response(status, value, etag, closes=closes))
        await writer.drain()
        if self.caddy.writes != before:
            self.change()
        if not closes:
            self._idle.add(writer)
        return not closes


def response(status: int, value: Any, etag: str = "", *, closes: bool = True) -> bytes:
    body = json.dumps(value).encode()
    tag = f"Etag: {etag}\r\n" if etag else ""
    close = "Connection: close\r\n" if closes else ""
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{tag}{close}\r\n"
    return head.encode() + body


@asynccontextmanager
async def served(caddy: FakeCaddy, path: Path) -> AsyncIterator[CaddyServer]:
    """Serve the admin API while the block runs."""
    server = CaddyServer(caddy, path)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
