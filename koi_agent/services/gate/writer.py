"""Writes one response to a client."""

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus

from koi_agent.services.gate.limits import PIECE
from koi_agent.timeouts import timeout


class ResponseWriter:
    """Writes one response; a client that reads nothing for ``timeout`` seconds is disconnected.

    ``has_begun`` is set once a part is sent. ``is_last`` is set earlier if the connection ends with
    it. ``error_key`` is the key of an error's text, as the upstream has it.
    """

    def __init__(self, writer: asyncio.StreamWriter, timeout: float, error_key: str) -> None:
        self.has_begun = False
        self.is_last = False
        self._writer = writer
        self._timeout = timeout
        self._error_key = error_key

    async def send_error(self, status: int, reason: str) -> None:
        """Send an error as the upstream does; after any error except 404, the connection ends."""
        self.is_last |= status != HTTPStatus.NOT_FOUND
        body = json.dumps({self._error_key: f"koi-runtime-gate: {reason}"}).encode()
        self._write_head(status, f"Content-Length: {len(body)}\r\n")
        await self._write(body)

    async def send_reason(self, status: int, reason: str) -> None:
        """Send an error with a reason of the upstream; the connection ends."""
        self.is_last = True
        body = json.dumps({self._error_key: reason}).encode()
        self._write_head(status, f"Content-Length: {len(body)}\r\n")
        await self._write(body)

    async def send(self, body: bytes, *, tag: str = "") -> None:
        """Send a whole response; ``tag`` is that of its content."""
        fields = f"Etag: {tag}\r\n" if tag else ""
        self._write_head(HTTPStatus.OK, f"Content-Length: {len(body)}\r\n{fields}")
        await self._write(body)

    async def send_list(self, elements: AsyncIterator[bytes], *, member: str = "") -> None:
        """Send a list element by element, some of them in one piece.

        With a ``member``, the list is that of an object.
        """
        start, end = (f'{{"{member}":[', "]}") if member else ("[", "]")
        text, separator = bytearray(start.encode()), b""
        async for element in elements:
            text += separator + element
            separator = b","
            if len(text) > PIECE:
                await self._write_chunk(bytes(text))
                text.clear()
                await asyncio.sleep(0)
        await self._write_chunk(bytes(text) + end.encode())
        await self._write_end()

    async def send_lines(self, lines: AsyncIterator[bytes]) -> None:
        """Send the head at once, and lines as they arrive."""
        self._begin_chunks()
        async for line in lines:
            await self._write_chunk(line)
        await self._write_end()

    def _begin_chunks(self) -> None:
        if not self.has_begun:
            self._write_head(HTTPStatus.OK, "Transfer-Encoding: chunked\r\n")

    def _write_head(self, status: int, fields: str) -> None:
        self.has_begun = True
        if self.is_last:  # otherwise, clients may send another request on the connection
            fields += "Connection: close\r\n"
        reason = HTTPStatus(status).phrase
        head = f"HTTP/1.1 {int(status)} {reason}\r\nContent-Type: application/json\r\n{fields}\r\n"
        self._writer.write(head.encode())

    async def _write_chunk(self, piece: bytes) -> None:
        self._begin_chunks()
        await self._write(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def _write_end(self) -> None:
        self._begin_chunks()
        await self._write(b"0\r\n\r\n")

    async def _write(self, data: bytes) -> None:
        """Write; raise ``TimeoutError`` if the client does not read."""
        self._writer.write(data)
        async with timeout(self._timeout):
            await self._writer.drain()
