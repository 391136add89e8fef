"""Responses of an engine that are read while they arrive: long lists, and lines of events.

Each has its own connection, which is read only as fast as its pieces are consumed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from typing import TYPE_CHECKING, Final

from koi_agent.backends.http_engine.requests import request_head
from koi_agent.backends.http_engine.response_parser import ResponseParser
from koi_agent.core.json_stream import LineSplitter, StreamError

if TYPE_CHECKING:
    from koi_agent.host.websocket import WebSocket

MAX_BODY: Final = 16 * 2**20
"""Maximum size of a response that is held whole. A container's inspection has several kilobytes."""
UNBOUNDED: Final = 2**63 - 1
"""The limit of a response that does not end."""
_PIECE: Final = 2**17
"""Bytes that are read at once."""


class ResponseStream:
    """A response whose body has at most ``limit`` bytes; close it after use.

    All errors are ``OSError`` or ``StreamError``.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = ResponseParser(limit)

    @property
    def status(self) -> int:
        """Return the HTTP status, 0 before the response."""
        return self._parser.status

    async def request(self, target: str) -> None:
        """Send a request, and wait until the head of its response is there."""
        self._writer.write(request_head(target))
        while self.status < 200:  # interim responses, such as 102, may come first
            if not await self._receive() and self.status < 200:
                raise StreamError("the connection ended before the response")

    async def _receive(self) -> bool:
        """Parse the bytes that come next; return False if the connection has ended."""
        data = await self._reader.read(_PIECE)
        if data:
            self._parser.feed(data)
        elif self.status >= 200:
            self._parser.end()
        return bool(data)

    async def piece(self) -> bytes:
        """Return the bytes of the body that come next, none at its end."""
        while not (piece := self._parser.take()) and not self._parser.is_complete:
            await self._receive()
        return piece

    async def read(self) -> bytes:
        """Return the whole body, of at most ``MAX_BODY`` bytes."""
        body = bytearray()
        while piece := await self.piece():
            body += piece
            if len(body) > MAX_BODY:
                raise StreamError(f"the response is longer than {MAX_BODY} bytes")
        return bytes(body)

    def close(self) -> None:
        """Close the connection at once, which ends the response for the engine too."""
        self._writer.transport.abort()


class LineStream:
    """The lines of a response that does not end, such as events; close it after use.

    ``translated`` is the context in which errors of the connection become the backend's.
    """

    def __init__(
        self,
        response: ResponseStream,
        max_line: int,
        translated: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._response = response
        self._max_line = max_line
        self._translated = translated

    def close(self) -> None:
        """Close the connection, which ends the stream for the engine too."""
        self._response.close()

    async def batches(self) -> AsyncIterator[Sequence[bytes]]:
        """Yield lines as they arrive, until the engine ends the stream.

        A line that is longer than allowed comes as an empty one.
        """
        splitter = LineSplitter(self._max_line)
        with self._translated():
            while piece := await self._response.piece():
                if lines := splitter.feed(piece):
                    yield lines


class MessageStream:
    """The messages of a WebSocket, such as events; close it after use.

    ``translated`` is the context in which errors of the connection become the backend's.
    """

    def __init__(
        self, opened: "WebSocket", translated: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._opened = opened
        self._translated = translated

    def close(self) -> None:
        """Close the connection, which ends the stream for the engine too."""
        self._opened.close()

    async def batches(self) -> AsyncIterator[Sequence[bytes]]:
        """Yield messages as they arrive, until the engine ends the stream.

        A message that is longer than allowed comes as an empty one.
        """
        with self._translated():
            async with aclosing(self._opened.batches()) as batches:
                async for messages in batches:
                    yield messages
