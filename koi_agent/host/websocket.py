"""A WebSocket on a Unix socket, on which only the messages of the server are read."""

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack

from koi_agent.core.json_stream import StreamError
from koi_agent.core.websocket import SWITCHED, MessageReader, upgrade_request, upgrade_status

_PIECE = 2**17
"""Bytes that are read at once."""


class UpgradeRefused(StreamError):
    """The server answered with an HTTP status other than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status


class WebSocket:
    """A WebSocket that is open; a message has at most ``limit`` bytes. Close it after use."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._messages = MessageReader(limit)

    async def batches(self) -> AsyncGenerator[Sequence[bytes], None]:
        """Yield messages as they arrive, until the server closes the WebSocket.

        A message that is longer than allowed comes as an empty one. Raises ``OSError`` or
        ``StreamError``.
        """
        while not self._messages.is_closed:
            data = await self._reader.read(_PIECE)
            if not data:
                return
            messages = self._messages.feed(data)
            if replies := self._messages.take_replies():
                self._writer.write(replies)  # a few bytes for each ping of the server
            if messages:
                yield messages

    def close(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()


async def open_websocket(path: str, target: str, limit: int) -> WebSocket:
    """Open a WebSocket on the Unix socket at ``path``.

    Raises ``UpgradeRefused``, ``OSError`` or ``StreamError``.
    """
    reader, writer = await asyncio.open_unix_connection(path)
    with ExitStack() as stack:
        stack.callback(writer.transport.abort)
        key = b64encode(os.urandom(16)).decode()
        writer.write(upgrade_request(target, "engine", key))
        status = upgrade_status(await _head(reader), key)
        if status != SWITCHED:
            raise UpgradeRefused(status)
        stack.pop_all()
    return WebSocket(reader, writer, limit)


async def _head(reader: asyncio.StreamReader) -> bytes:
    """Return the head of a response; raise ``OSError`` or ``StreamError``."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise StreamError("the connection ended before the response") from error
    except asyncio.LimitOverrunError as error:
        raise StreamError("the response is not HTTP") from error
