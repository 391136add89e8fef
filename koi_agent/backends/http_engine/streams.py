"""Responses of an engine that are read while they arrive: long lists, and lines of events.

Each has its own connection. It is read only as fast as its pieces are consumed. ``follow`` passes
lines on without waiting.
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
_PIECE: Final = 2**16
"""Bytes that are read at once. Reading is paused while as many bytes of a body wait."""


class ResponseStream(asyncio.BufferedProtocol):
    """A connection with one response, whose body has at most ``limit`` bytes; close it after use.

    All errors are ``OSError`` or ``StreamError``.
    """

    _transport: asyncio.Transport

    def __init__(self, limit: int) -> None:
        self._parser = ResponseParser(limit)
        self._received = memoryview(bytearray(_PIECE))
        self._changed = asyncio.Event()
        self._deliver: Callable[[bytes], None] | None = None
        self._error: Exception | None = None
        self._bug: Exception | None = None

    @property
    def status(self) -> int:
        """Return the HTTP status, 0 before the response."""
        return self._parser.status

    async def request(self, target: str) -> None:
        """Send a request, and wait until the head of its response is there."""
        self._transport.write(request_head(target))
        while self.status < 200:  # interim responses, such as 102, may come first
            await self._change()
        self._raise_error()  # what follows the status may not be valid

    async def piece(self) -> bytes:
        """Return the bytes of the body that come next, none at its end."""
        while not (piece := self._parser.take()) and not self._parser.is_complete:
            await self._change()
        if not piece:
            self._raise_error()
        return piece

    async def read(self) -> bytes:
        """Return the whole body, of at most ``MAX_BODY`` bytes."""
        body = bytearray()
        while piece := await self.piece():
            body += piece
            if len(body) > MAX_BODY:
                raise StreamError(f"the response is longer than {MAX_BODY} bytes")
        return bytes(body)

    def take(self) -> bytes:
        """Return the bytes of the body that have arrived and were not taken."""
        return self._parser.take()

    async def follow(self, deliver: Callable[[bytes], None]) -> Exception | None:
        """Pass on the bytes of the body as they arrive, until its end.

        Return the error that ``deliver`` has raised, which is not an error of the response.
        """
        self._deliver = deliver
        while not (self._parser.is_complete or self._bug):
            await self._change()
        if not self._bug:
            self._raise_error()
        return self._bug

    def close(self) -> None:
        """Close the connection at once, which ends the response for the engine too."""
        self._transport.abort()

    async def _change(self) -> None:
        """Wait for more of the response; raise the error that has ended the connection."""
        self._changed.clear()
        self._raise_error()
        self._transport.resume_reading()
        await self._changed.wait()

    def _raise_error(self) -> None:
        """Raise the error of the response or of its connection, if there is one."""
        if self._error is None:
            return
        error, self._error = self._error, StreamError("the response has ended with an error")
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame, and to the stream with its buffer

    # Called by asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._received

    def buffer_updated(self, size: int) -> None:
        try:
            self._parser.feed(self._received[:size])
        except StreamError as error:
            self._end(error)
            self._transport.abort()
            return
        if self._deliver is None:
            if len(self._parser.body) >= _PIECE:
                self._transport.pause_reading()
            self._changed.set()
            return
        try:
            self._deliver(self._parser.take())
        except Exception as bug:
            self._bug = bug
            self._changed.set()
            raise
        if self._parser.is_complete:
            self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._parser.is_complete:
            self._end(error or self._end_of_connection())

    def _end_of_connection(self) -> StreamError | None:
        """Return the error of a response that is incomplete at the end of the connection."""
        if self.status < 200:
            return StreamError("the connection ended before the response")
        try:
            self._parser.end()
        except StreamError as incomplete:
            return incomplete
        return None

    def _end(self, error: Exception | None) -> None:
        self._error = self._error or error
        self._changed.set()


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

    async def follow(self, deliver: Callable[[Sequence[bytes]], None]) -> None:
        """Pass on lines as they arrive, until the engine ends the stream.

        No task is woken for them. A line that is longer than allowed comes as an empty one. An
        error of ``deliver`` is raised as it is.
        """
        splitter = LineSplitter(self._max_line)

        def split(piece: bytes) -> None:
            if lines := splitter.feed(piece):
                deliver(lines)

        split(self._response.take())
        with self._translated():
            bug = await self._response.follow(split)
        if bug:
            raise bug

    async def batches(self) -> AsyncIterator[Sequence[bytes]]:
        """Yield lines as ``follow`` passes them on, but read only as fast as they are consumed."""
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
