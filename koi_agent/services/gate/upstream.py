"""The upstream of a gate: each connection carries one request, and its response ends it."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from koi_agent.core.json_stream import ArrayDecoder, LineSplitter, StreamError
from koi_agent.services.gate.limits import MAX_HEAD, PIECE, Limits
from koi_agent.timeouts import timeout

_ETAG: Final = re.compile(rb'\r\netag:[ \t]*("[ -~]{0,300}")[ \t]*\r\n', re.IGNORECASE)
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r)")


class UpstreamError(Exception):
    """The upstream is absent, or its response is unusable. The text contains no part of it.

    ``status`` is what the client gets: 502 if nothing is upstream, 504 otherwise.
    """

    def __init__(self, text: str, status: HTTPStatus = HTTPStatus.GATEWAY_TIMEOUT) -> None:
        super().__init__(text)
        self.status = status


class Response:
    """A response from upstream; its body can be read once. ``etag`` is "" if it has none."""

    def __init__(self, head: bytes, body: asyncio.StreamReader, limits: Limits) -> None:
        self.status = _parse_status(head)
        tag = _ETAG.search(head)
        self.etag = tag[1].decode() if tag else ""
        self._body = body
        self._limits = limits

    async def read(self) -> bytes:
        """Return the whole body; raise ``UpstreamError`` if it is too long."""
        data = bytearray()
        while piece := await self._read_piece():
            data += piece
            if len(data) > self._limits.record:
                raise UpstreamError(f"response longer than {self._limits.record} bytes")
        return bytes(data)

    async def elements(self, member: str = "") -> AsyncGenerator[object, None]:
        """Yield the elements of a JSON array as they arrive; raise ``UpstreamError``.

        The array is the body, or a ``member`` of it.
        """
        decoder = ArrayDecoder(self._limits.record, member)
        try:
            while piece := await self._read_piece():
                for element in decoder.feed(piece):
                    yield element
            for element in decoder.close():
                yield element
        except StreamError as error:
            raise UpstreamError(f"list: {error}") from error

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Yield lines for as long as the engine sends them; raise ``UpstreamError``.

        An empty line replaces one that is too long, so that the client learns that an event was
        lost.
        """
        splitter = LineSplitter(self._limits.record)
        while piece := await self._body.read(PIECE):
            for line in splitter.feed(piece):
                yield line
        try:
            splitter.close()
        except StreamError as error:
            raise UpstreamError(f"events: {error}") from error

    async def ended(self) -> None:
        """Wait until the connection ends, and discard what it carries."""
        async with timeout(self._limits.watch):
            while await self._body.read(PIECE):
                pass

    async def _read_piece(self) -> bytes:
        async with timeout(self._limits.engine_pause):
            return await self._body.read(PIECE)


class Upstream:
    """The engine, or Caddy, on the socket at ``path``."""

    def __init__(self, path: str, limits: Limits | None = None) -> None:
        self.path = path
        self._limits = limits or Limits()

    @asynccontextmanager
    async def request(self, request: bytes) -> AsyncIterator[Response]:
        """Send a request, and yield its response; raise ``UpstreamError``."""
        reader, writer = await self._connect()
        try:
            async with timeout(self._limits.engine):
                writer.write(request)
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
            yield Response(head, reader, self._limits)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise UpstreamError(f"{self.path}: incomplete response") from error
        except TimeoutError as error:
            raise UpstreamError(f"{self.path}: no response in time") from error
        except OSError as error:
            raise UpstreamError(f"{self.path}: connection lost") from error
        finally:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_unix_connection(self.path, limit=PIECE)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            reason = os.strerror(error.errno or 0)
            raise UpstreamError(f"{self.path}: {reason}", HTTPStatus.BAD_GATEWAY) from error
        except OSError as error:
            raise UpstreamError(f"{self.path}: {os.strerror(error.errno or 0)}") from error


def _parse_status(head: bytes) -> int:
    found = _STATUS_LINE.match(head)
    if not found or len(head) > MAX_HEAD:
        raise UpstreamError("response is not HTTP")
    return int(found[1])
