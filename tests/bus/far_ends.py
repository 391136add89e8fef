"""Buses that misbehave, each on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from koi_agent.bus.messages import MessageType, decode, extent
from tests.bus.wire import frame

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def far_end(folder: Path, behave: Behaviour) -> AsyncIterator[str]:
    """Run ``behave`` for each client that connects; yields the address."""
    async with asyncio.TaskGroup() as group:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await behave(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the client has closed the connection, as it must
            finally:
                writer.close()

        tasks: list[asyncio.Task[None]] = []

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(group.create_task(serve(reader, writer)))

        server = await asyncio.start_unix_server(connected, folder / "fake", limit=2**20)
        try:
            yield f"unix:path={folder / 'fake'}"
        finally:
            server.close()
            for task in tasks:
                task.cancel()


async def authenticate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept the authentication of a client."""
    await reader.readuntil(b"\r\n")
    writer.write(b"OK 0123456789abcdef0123456789abcdef\r\n")
    await reader.readuntil(b"BEGIN\r\n")


async def next_serial(reader: asyncio.StreamReader) -> int:
    """Wait for a method call; returns its serial."""
    start = await reader.readexactly(16)
    frame = start + await reader.readexactly(extent(start, 0)[2] - 16)
    header = decode(frame, 0)
    assert header.kind == MessageType.CALL
    return header.serial


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept the authentication of a client and answer Hello."""
    await authenticate(reader, writer)
    writer.write(answer(await next_serial(reader), "s", [":1.1"]))


def answer(serial: int, signature: str, body: list[object]) -> bytes:
    """Return the bytes of a reply."""
    return frame(2, {5: ("u", serial)}, signature, body)


async def silence(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Send nothing."""
    await asyncio.Event().wait()
