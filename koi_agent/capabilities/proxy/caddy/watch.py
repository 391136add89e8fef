"""Waits for changes of Caddy's configuration without polling.

With each change, including those by others, Caddy starts a new admin API and closes the idle
connections of the previous one. So the end of an idle connection means that the configuration has
changed, or that Caddy has ended. A gate in between then closes its own connection. Caddy also
closes a connection that has been idle for long, which causes a needless check.
"""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from koi_agent.config.proxy import AdminAddress
from koi_agent.timeouts import timeout

CONNECT: Final = 3.0
"""Seconds until there is a connection with an answer."""
MOST: Final = 2**16
"""Maximum number of bytes that are read: the answer to the request is shorter."""
LONGEST: Final = 600.0
"""Maximum seconds to wait for the end of a connection: a network can lose it."""
_ABSENT: Final = b"HTTP/1.1 502"
"""The beginning of the response of a gate without Caddy."""
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
            async with timeout(LONGEST):
                while size < MOST and (piece := await self._reader.read(MOST)):
                    size += len(piece)
        except OSError:  # TimeoutError is a subclass
            return


@asynccontextmanager
async def watching(address: AdminAddress) -> AsyncIterator[Watch]:
    """Connect, and yield the connection once it is idle; raise ``OSError``."""
    async with timeout(CONNECT):
        reader, writer = await _connected(address)
    try:
        host = "" if address.path else str(address)
        writer.write(f"GET {_PAGE} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        async with timeout(CONNECT):
            await writer.drain()
            _check_status(await reader.read(len(_ABSENT)))
        yield Watch(reader)
    finally:
        writer.transport.abort()


def _check_status(begin: bytes) -> None:
    """Raise ``OSError`` if the beginning of a response shows that no Caddy is behind the gate."""
    if not begin:
        raise ConnectionResetError("it closed the connection")
    if begin == _ABSENT:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "no Caddy is behind its gate")


async def _connected(address: AdminAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.host, address.port)
