"""Connections to an engine that stay open, for whole responses.

An engine of thousands of containers gets thousands of small requests. A general HTTP client takes
most of the time of each.
"""

import asyncio
from typing import Final

from koi_agent.backends.http_engine.requests import request_head
from koi_agent.backends.http_engine.response_parser import ResponseParser
from koi_agent.core.json_stream import StreamError

KEPT: Final = 15.0
"""Minimum idle time of connections, in seconds; the maximum is twice that."""
_PIECE: Final = 2**16
"""Bytes that are read at once, into a buffer that all connections share."""


class Connections:
    """Connections to the socket at ``path``; a response has at most ``limit`` bytes."""

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._buffer = memoryview(bytearray(_PIECE))
        self._idle: list[_Connection] = []
        self._were_used = False
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None

    async def get(self, target: str) -> tuple[int, bytes]:
        """Return status and body of a response; raise ``OSError`` or ``StreamError``."""
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._get(connection, target)
            except _Unanswered:
                pass  # the engine has closed it meanwhile
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(
            lambda: _Connection(self._buffer), self._path
        )
        return await self._get(connection, target)

    async def _get(self, connection: "_Connection", target: str) -> tuple[int, bytes]:
        """Use one connection, and keep it if it can carry another request."""
        parser = ResponseParser(self._limit)
        try:
            await connection.request(target, parser)
        finally:
            if parser.is_complete and not (parser.is_last or self._is_closed):
                self._keep(connection)
            else:
                connection.close()
        return parser.status, bytes(parser.body)

    def _keep(self, connection: "_Connection") -> None:
        self._idle.append(connection)
        self._were_used = True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(KEPT, self._close_unused)

    def _close_unused(self) -> None:
        """Close the connections, unless one of them was used since the last call."""
        self._timer = None
        if self._were_used:
            self._were_used = False
            self._timer = asyncio.get_running_loop().call_later(KEPT, self._close_unused)
        else:
            self._close_idle()

    def close(self) -> None:
        """Close the connections; those that carry a request are closed after its response."""
        self._is_closed = True
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._close_idle()

    def _close_idle(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class _Unanswered(StreamError):
    """The connection ended before the response began."""


class _Connection(asyncio.BufferedProtocol):
    """A connection that carries one request at a time; other ones may use its ``buffer``."""

    _transport: asyncio.Transport

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._parser: ResponseParser | None = None
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    async def request(self, target: str, parser: ResponseParser) -> None:
        """Send a request, and wait until the parser has the response."""
        if self._transport.is_closing():
            raise _Unanswered("the connection ended before the response")
        self._parser = parser
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request_head(target))
        await self._answered

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        if self._parser is None or self._answered is None or self._answered.done():
            self._transport.abort()  # there was no request
            return
        try:
            self._parser.feed(self._buffer[:size])
        except StreamError as error:
            self._answered.set_exception(error)
            return
        if self._parser.is_complete:
            self._answered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self._parser is None or self._answered is None or self._answered.done():
            return
        if not self._parser.status:
            self._answered.set_exception(_Unanswered("the connection ended before the response"))
            return
        try:
            self._parser.end()
        except StreamError as incomplete:
            self._answered.set_exception(incomplete)
        else:
            self._answered.set_result(None)

    def close(self) -> None:
        """Close the connection at once."""
        self._transport.abort()
