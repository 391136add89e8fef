"""The side of the gate that the agent talks to: one filtered response for each request."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from http import HTTPStatus
from typing import Final, Never

from koi_agent.core.errors import ungrouped
from koi_agent.gate.limits import MAX_HEAD, PIECE, Limits
from koi_agent.gate.refusals import RefusalLog
from koi_agent.gate.requests import Endpoint, Forbidden, Request, parse_request
from koi_agent.gate.responses import filter_event, filter_listed, filter_response
from koi_agent.gate.upstream import Response, Upstream, UpstreamError

log = logging.getLogger(__name__)

FORWARDED_STATUSES: Final = frozenset({400, 404, 409, 500, 503})
"""Error statuses of the engine that the client gets as they are; others become 504."""


class Server:
    """Serves the clients of one listening socket; ``upstream`` is the engine."""

    def __init__(self, upstream: Upstream, limits: Limits | None = None) -> None:
        self._upstream = upstream
        self._limits = limits or Limits()
        self._connections = asyncio.Semaphore(self._limits.connections)
        self._whole_responses = asyncio.Semaphore(self._limits.whole_responses)
        self._refusals = RefusalLog(self._limits)

    async def run(self, listener: socket.socket) -> Never:
        """Serve until cancelled. Connections beyond the limit wait in the kernel's backlog."""
        with closing(self._refusals):
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._connections.acquire()
                    connection = await self._accept(listener)
                    task = group.create_task(self._serve(connection), name="connection")
                    task.add_done_callback(lambda _: self._connections.release())
        raise AssertionError("serving has no end")

    async def _accept(self, listener: socket.socket) -> socket.socket:
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError as error:
                log.warning("can't accept a connection: %s; trying again", error)
                await asyncio.sleep(self._limits.accept_retry)
            else:
                return connection

    async def _serve(self, connection: socket.socket) -> None:
        """Serve one connection; an error on it ends no other."""
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_HEAD)
            await self._serve_requests(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client is gone, or too slow (TimeoutError): nothing can be sent to it
        except Exception:
            # A bug in one handler must not end the task group, and with it all connections.
            log.exception("connection closed: this is a bug")

    async def _serve_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while await self._serve_request(reader, writer):
                pass
            writer.close()
            async with asyncio.timeout(self._limits.write):
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _serve_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Serve one request; return True if the connection may carry another."""
        response = ResponseWriter(writer, self._limits.write)
        try:
            request = parse_request(await self._read_head(reader))
        except asyncio.LimitOverrunError:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            await response.send_error(status, f"request head longer than {MAX_HEAD} bytes")
            return False
        except Forbidden as forbidden:
            self._refusals.add(str(forbidden))
            await response.send_error(HTTPStatus.FORBIDDEN, str(forbidden))
            return False
        try:
            await self._respond(request, response, reader)
        except UpstreamError as error:
            if response.has_begun:  # a response that is cut off can't be taken for a whole one
                return False
            await response.send_error(error.status, str(error))
        return request.keep_alive and not response.is_last

    async def _read_head(self, reader: asyncio.StreamReader) -> bytes:
        """Read the head of a request. It may begin late, but must then arrive soon."""
        async with asyncio.timeout(self._limits.idle):
            first = await reader.readexactly(1)
        async with asyncio.timeout(self._limits.head):
            return first + await reader.readuntil(b"\r\n\r\n")

    async def _respond(
        self, request: Request, response: "ResponseWriter", reader: asyncio.StreamReader
    ) -> None:
        if request.endpoint is Endpoint.PING:
            await response.send(filter_response(request.endpoint, b""))
            return
        async with self._upstream.request(request) as answer:
            if answer.status != HTTPStatus.OK:
                is_known = answer.status in FORWARDED_STATUSES
                status = answer.status if is_known else HTTPStatus.GATEWAY_TIMEOUT
                await response.send_error(status, f"the engine's HTTP status is {answer.status}")
            elif request.endpoint is Endpoint.EVENTS:
                await _send_events(answer, response, reader)
            else:
                async with asyncio.timeout(self._limits.response):
                    await self._send_filtered(request.endpoint, answer, response)

    async def _send_filtered(
        self, endpoint: Endpoint, answer: Response, response: "ResponseWriter"
    ) -> None:
        if endpoint is Endpoint.LIST:
            async with aclosing(answer.elements()) as containers:
                await response.send_list(containers)
            return
        async with self._whole_responses:
            try:
                body = filter_response(endpoint, await answer.read())
            except (ValueError, RecursionError) as error:
                raise UpstreamError("the engine's response is not JSON") from error
        await response.send(body)


async def _send_events(
    answer: Response, response: "ResponseWriter", reader: asyncio.StreamReader
) -> None:
    """Send events until the engine ends them or the client is gone."""
    with ungrouped(OSError, UpstreamError, asyncio.IncompleteReadError):
        async with asyncio.TaskGroup() as group, aclosing(answer.lines()) as lines:
            watching = group.create_task(_watch_client(reader), name="watch client")
            await response.send_events(lines)
            watching.cancel()


async def _watch_client(reader: asyncio.StreamReader) -> Never:
    """Raise ``ConnectionAbortedError`` when the client leaves: without events no write fails."""
    await reader.read(1)
    raise ConnectionAbortedError


class ResponseWriter:
    """Writes one response; a client that reads nothing for ``timeout`` seconds is left.

    ``has_begun`` is set once a part is sent, ``is_last`` if the connection ends with the response.
    """

    def __init__(self, writer: asyncio.StreamWriter, timeout: float) -> None:
        self.has_begun = False
        self.is_last = False
        self._writer = writer
        self._timeout = timeout

    async def send_error(self, status: int, reason: str) -> None:
        """Send an error as engines do; after any but 404 the connection ends."""
        self.is_last = status != HTTPStatus.NOT_FOUND
        body = json.dumps({"message": f"koi-runtime-gate: {reason}"}).encode()
        close = "Connection: close\r\n" if self.is_last else ""
        self._write_head(status, f"Content-Length: {len(body)}\r\n{close}")
        await self._write(body)

    async def send(self, body: bytes) -> None:
        """Send a whole response."""
        self._write_head(HTTPStatus.OK, f"Content-Length: {len(body)}\r\n")
        await self._write(body)

    async def send_list(self, containers: AsyncIterator[object]) -> None:
        """Send a list element by element, some of them in one piece."""
        text, separator = bytearray(b"["), b""
        async for container in containers:
            text += separator + filter_listed(container)
            separator = b","
            if len(text) > PIECE:
                await self._write_chunk(bytes(text))
                text.clear()
                await asyncio.sleep(0)
        await self._write_chunk(bytes(text) + b"]")
        await self._write_end()

    async def send_events(self, lines: AsyncIterator[bytes]) -> None:
        """Send events as they come, and the head at once."""
        self._begin_chunks()
        async for line in lines:
            if event := filter_event(line):
                await self._write_chunk(event)
        await self._write_end()

    def _begin_chunks(self) -> None:
        if not self.has_begun:
            self._write_head(HTTPStatus.OK, "Transfer-Encoding: chunked\r\n")

    def _write_head(self, status: int, fields: str) -> None:
        self.has_begun = True
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
        async with asyncio.timeout(self._timeout):
            await self._writer.drain()
