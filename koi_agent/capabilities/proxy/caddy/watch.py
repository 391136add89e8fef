"""Waits for changes of Caddy's configuration, without asking again and again.

With each change, also one of others, Caddy begins a new admin API and closes the idle connections
of the one before. So the end of an idle connection means that there was a change, or that Caddy has
ended. A gate in between ends its own connection then. Caddy also closes a connection that has been
idle for long: then there is one look more.
"""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from koi_agent.config.proxy import AdminAddress

CONNECT: Final = 3.0
"""Seconds until there is a connection with an answer."""
MOST: Final = 2**16
"""Bytes that are read: the answer to the request is shorter."""
LONGEST: Final = 600.0
"""Seconds that a connection is waited for: a network can lose its end."""
_ABSENT: Final = b"HTTP/1.1 502"
"""The begin of the response of a gate without Caddy."""
_PAGE: Final = "/config/admin"
"""A short page. Caddy logs an error for a page below an absent object."""


class Watch:
    """One idle connection."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def end(self) -> None:
        """Wait until Caddy closes the connection."""
        size = 0
        try:
            async with asyncio.timeout(LONGEST):
                while size < MOST and (piece := await self._reader.read(MOST)):
                    size += len(piece)
        except OSError:  # a TimeoutError is one, too
            return


@asynccontextmanager
async def watching(address: AdminAddress) -> AsyncIterator[Watch]:
    """Connect, and yield the connection once it is idle; raise ``OSError``."""
    async with asyncio.timeout(CONNECT):
        reader, writer = await _connected(address)
    try:
        host = "" if address.path else str(address)
        writer.write(f"GET {_PAGE} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        async with asyncio.timeout(CONNECT):
            await writer.drain()
            _check_status(await reader.read(len(_ABSENT)))
        yield Watch(reader)
    finally:
        writer.transport.abort()


def _check_status(begin: bytes) -> None:
    """Raise ``OSError`` for the begin of a response if there is no Caddy behind the gate."""
    if not begin:
        raise ConnectionResetError("it closed the connection")
    if begin == _ABSENT:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "no Caddy is behind its gate")


async def _connected(address: AdminAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.host, address.port)
