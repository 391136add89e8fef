"""Serves the fake Koi daemon on a loopback port, with its breadcrumb, and misbehaves on request."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from tests.unit.fake_koi import FakeKoi
from tests.unit.fake_koi_wire import Answer, Request, document, plain

UNAUTHORIZED: Final = document(
    {"error": "unauthorized", "message": "Missing or invalid x-koi-token header"}, 401
)
NOT_FOUND: Final = document({"error": "not_found", "message": "not found"}, 404)
BROKEN: Final = document({"error": "internal", "message": "broken by the test"}, 500)
GARBAGE: Final = b"\x00\xff not HTTP \r\n\r\n"
NOT_JSON: Final = plain("<html>\udcff".encode("utf-8", "replace").decode(), 200)
ENDLESS: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n["
"""The begin of a response whose body does not end."""

LATE: Final = 12.0
STEPS: Final = 5
"""Turns of the event loop until a connection that is just accepted is known here."""

Trouble = Callable[[Request], Answer | bytes | None]
"""Returns what is sent instead of the answer, or None."""


class KoiServer:
    """A daemon's process: it starts, stops and is killed, always on the same port.

    ``trouble`` replaces responses, and such a request changes nothing. ``hangs`` selects requests
    that are carried out and never answered, ``cuts`` those after which the connection is cut.
    ``delay`` is in seconds, until a request is carried out; one that is ``late`` has no response
    in time, and is carried out after ``LATE`` seconds.
    """

    def __init__(self, daemon: FakeKoi, folder: Path) -> None:
        self.daemon = daemon
        self.breadcrumb = folder / "koi.endpoint"
        self.trouble: Trouble = lambda _: None
        self.hangs: Callable[[Request], bool] = lambda _: False
        self.cuts: Callable[[Request], bool] = lambda _: False
        self.late: Callable[[Request], bool] = lambda _: False
        self.delay = 0.0
        # Bound and not listening, it keeps the port: a connection to a daemon that is gone fails.
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.port: int = self._kept.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start, and write the breadcrumb: in place, not by a rename."""
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, reuse_address=True
        )
        self.breadcrumb.touch(mode=0o600)
        self.breadcrumb.write_text(f"{self.url}\ndat:{self.daemon.token}\n")

    async def kill(self) -> None:
        """End as by SIGKILL or SIGTERM: the breadcrumb stays, and the network sees no goodbye."""
        if self._server:
            # No connection may be half accepted when the server is closed.
            for one in self._server.sockets:
                asyncio.get_running_loop().remove_reader(one)
            for _ in range(STEPS):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
            for _ in range(STEPS):
                await asyncio.sleep(0)
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def stop(self) -> None:
        """End as by SIGINT: services are withdrawn, and the breadcrumb is removed."""
        self.daemon.mdns.remove_all()
        self.breadcrumb.unlink()
        await self.kill()

    async def restart(self) -> None:
        """Kill the daemon, and start it with another token."""
        await self.kill()
        self.daemon.start()
        await self.start()

    def close(self) -> None:
        """Release the port."""
        self._kept.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            with suppress(OSError, EOFError, asyncio.CancelledError):
                while await self._serve(reader, writer):
                    pass
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve a request; return True if the connection stays open."""
        request = await _request(reader)
        if delay := LATE if self.late(request) else self.delay:
            await asyncio.sleep(delay)  # the request is carried out also if the client is gone
        made = self.trouble(request)
        if made is None:
            made = self.daemon.handle(request)
        else:
            self.daemon.requests.append(request)
        if self.hangs(request):
            await asyncio.Event().wait()
        if self.cuts(request):
            return False
        writer.write(made if isinstance(made, bytes) else _response(made))
        await writer.drain()
        while made is ENDLESS:
            writer.write(b" " * 65536)
            await writer.drain()
        return not isinstance(made, bytes) and request.fields.get("connection") != "close"


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    fields = {name.lower(): text.strip() for name, _, text in (one.partition(":") for one in lines)}
    assert "cookie" not in fields
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Request(method, path, fields, body)


def _response(answer: Answer) -> bytes:
    head = f"HTTP/1.1 {answer.status} X\r\nContent-Length: {len(answer.body)}\r\n"
    kind = f"Content-Type: {answer.kind}\r\n" if answer.body else ""
    return f"{head}{kind}\r\n".encode() + answer.body


@asynccontextmanager
async def served(daemon: FakeKoi, folder: Path) -> AsyncIterator[KoiServer]:
    """Run a daemon while the block runs; its breadcrumb is in the folder."""
    server = KoiServer(daemon, folder)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()
        server.close()
