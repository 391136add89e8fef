"""The side of the gate that faces the agent: one filtered response for each request."""

import asyncio
import logging
import socket
from contextlib import closing
from http import HTTPStatus
from typing import Never

from koi_agent.services.gate.head import Forbidden, parse_head
from koi_agent.services.gate.limits import MAX_HEAD, Limits
from koi_agent.services.gate.profiles import Exchange, Profile
from koi_agent.services.gate.refusals import RefusalLog
from koi_agent.services.gate.upstream import Upstream, UpstreamError
from koi_agent.services.gate.writer import ResponseWriter
from koi_agent.timeouts import timeout

log = logging.getLogger(__name__)


class Server:
    """Serves the clients of one listening socket, by the ``profile`` of what is upstream."""

    def __init__(self, profile: Profile, upstream: Upstream, limits: Limits | None = None) -> None:
        self._profile = profile
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
            # A bug in one handler must not end the task group and, with it, all connections.
            log.exception("connection closed: this is a bug")

    async def _serve_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while await self._serve_request(reader, writer):
                pass
            writer.close()
            async with timeout(self._limits.write):
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _serve_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Serve one request; return True if the connection may carry another."""
        response = ResponseWriter(writer, self._limits.write, self._profile.error_key)
        try:
            return await self._respond(reader, response)
        except asyncio.LimitOverrunError:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            await response.send_error(status, f"request head longer than {MAX_HEAD} bytes")
        except Forbidden as forbidden:
            self._refusals.add(str(forbidden))
            await response.send_error(HTTPStatus.FORBIDDEN, str(forbidden))
        except UpstreamError as error:
            # A response that is cut off can't be mistaken for a complete one.
            if not response.has_begun:
                await response.send_error(error.status, str(error))
        return False

    async def _respond(self, reader: asyncio.StreamReader, response: ResponseWriter) -> bool:
        head = parse_head(await self._read_head(reader), self._profile.fields)
        response.is_last = not head.keep_alive
        respond = self._profile.admit(head)
        exchange = Exchange(
            upstream=self._upstream,
            response=response,
            client=reader,
            limits=self._limits,
            whole_responses=self._whole_responses,
        )
        await respond(exchange)
        return not response.is_last

    async def _read_head(self, reader: asyncio.StreamReader) -> bytes:
        """Read the head of a request. It may begin late, but must then arrive quickly."""
        async with timeout(self._limits.idle):
            first = await reader.readexactly(1)
        async with timeout(self._limits.head):
            return first + await reader.readuntil(b"\r\n\r\n")
