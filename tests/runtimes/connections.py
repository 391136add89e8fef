"""The connections of a fake server, each served by a task."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Connections:
    """The connections of one server; ``serve`` answers the requests of one until it ends."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[object]] = set()
        self._server: asyncio.Server | None = None

    async def listen_at(self, path: Path) -> None:
        """Listen on a Unix socket."""
        self._server = await asyncio.start_unix_server(self._accept, path)

    async def listen(self, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen on loopback, at any port for 0; return the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, ssl=tls)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    def refuse(self) -> None:
        """Listen no longer."""
        if self._server:
            self._server.close()

    def abort(self) -> None:
        """Reset all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def end(self) -> None:
        """Reset all connections, and wait for the end of their tasks."""
        self.abort()
        if tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if task := asyncio.current_task():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(reader, writer)
        self._writers.discard(writer)
        writer.close()
