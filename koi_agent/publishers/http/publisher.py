"""Serves HTTP on sockets, and passes events to the event streams."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Never, cast

from aiohttp import web

from koi_agent.core.events import Event
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.registry import Registry
from koi_agent.publishers.http.agent_status import AgentStatus
from koi_agent.publishers.http.clients import Client
from koi_agent.publishers.http.connection import HEADERS, Connection
from koi_agent.publishers.http.handlers import Handlers
from koi_agent.publishers.http.host_header import Address, is_own_host, parse_address
from koi_agent.publishers.http.limits import DEFAULTS, Limits
from koi_agent.publishers.http.listener import Listener
from koi_agent.publishers.http.own_names import OwnNames
from koi_agent.publishers.http.places import Places
from koi_agent.publishers.http.response import Request, RequestError, Response
from koi_agent.publishers.http.routes import Routes
from koi_agent.publishers.http.turns import Turns
from koi_agent.timeouts import timeout

log = logging.getLogger(__name__)

BATCH = 256 * 1024
"""Bytes of a body that are written at once, and one more piece."""


class HTTPPublisher:
    """An event sink that serves the registry on sockets.

    ``status`` returns the state of the agent as a whole. ``grace`` gets the same events, earlier.
    ``names`` are those that the Host header of a request on TCP may have.
    """

    def __init__(
        self,
        registry: Registry,
        grace: RestartGrace,
        status: Callable[[], AgentStatus],
        limits: Limits = DEFAULTS,
    ) -> None:
        self._limits = limits
        self._handlers = Handlers(registry, grace, status, limits)
        self._routes = Routes(self._handlers, status().version)
        self.names = OwnNames(lambda: status().network)
        self._listeners: Sequence[Listener] = ()
        self._turns = Turns()

    def publish(self, events: Sequence[Event]) -> None:
        """Pass events to the event streams."""
        self._handlers.streams.publish(events)

    async def serve(
        self, sockets: Sequence[socket.socket], accepted: Sequence[socket.socket] = ()
    ) -> Never:
        """Serve until cancelled, then finish the requests that have arrived.

        The end takes at most ``stop_timeout``. The sockets listen and do not block. They stay open:
        their owner closes them. ``accepted`` are connections of sockets that are closed already.
        May be called again after it has ended.
        """
        async with asyncio.TaskGroup() as group:
            server = web.Server(self._respond)
            places = Places(self._limits)
            listeners = self._listeners = [
                Listener(one, server, places, self._count, group, self._limits)
                for one in (*sockets, *accepted)
            ]
            try:
                for listener in listeners[: len(sockets)]:
                    listener.open()
                for listener, one in zip(listeners[len(sockets) :], accepted, strict=True):
                    listener.add(one)
                await asyncio.get_running_loop().create_future()
            finally:
                await self._finish(listeners, places)
                await server.shutdown(self._limits.stop_timeout)
        raise AssertionError("serve() ended without being cancelled")

    def release(self, listening: socket.socket) -> None:
        """Stop using a socket, which its owner closes then."""
        for listener in self._listeners:
            listener.release(listening)

    async def _finish(self, listeners: Iterable[Listener], places: Places) -> None:
        """Finish all requests and streams; close the connections that take too long."""
        for listener in listeners:
            listener.close()
        self._handlers.streams.end()
        with suppress(TimeoutError):
            async with timeout(self._limits.stop_timeout):
                for listener in listeners:
                    await listener.empty.wait()
        places.stop()
        if closed := sum(listener.abort() for listener in listeners):
            log.info("%d connections were closed: their requests took too long", closed)
            for listener in listeners:
                await listener.empty.wait()

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast("Connection", request.protocol)  # a listener makes no other
        with connection.handling():
            try:
                host = await _host(request, self.names)
                route, id_ = self._routes.find(request.method, request.rel_url.raw_path)
                parsed = _parsed(request, id_, host, connection.client)
                async with self._turns.turn(connection.client):
                    response = await route.handler(parsed)
            except RequestError as error:
                response = error.response()
            return await self._send(request, connection, response)

    async def _send(
        self, request: web.BaseRequest, connection: Connection, response: Response
    ) -> web.StreamResponse:
        headers = {**HEADERS, **response.headers, "Content-Type": response.content_type}
        sent = web.StreamResponse(status=response.status, headers=headers)
        if not response.stream:
            sent.content_length = sum(map(len, response.pieces))
        if connection.closing or response.stream or request.body_exists:
            sent.force_close()
        self._count(response.status)
        connection.stream = response.stream
        try:
            await self._write(request, sent, response)
        except (ConnectionError, TimeoutError) as error:
            log.debug("a client did not read its response: %r", error)
            connection.abort()
        finally:
            if response.stream:
                response.stream.close()
        return sent

    def _count(self, status: int) -> None:
        self._handlers.requests[status] += 1

    async def _write(
        self, request: web.BaseRequest, sent: web.StreamResponse, response: Response
    ) -> None:
        """Write a response as fast as the client reads it.

        Raises ``ConnectionError`` and ``TimeoutError``.
        """
        async with timeout(self._limits.write_timeout):
            await sent.prepare(request)
        if request.method != "HEAD":
            for batch in _batches(response.pieces):
                await self._write_part(sent, batch)
            while response.stream and (part := await response.stream.next()):
                await self._write_part(sent, part)
        async with timeout(self._limits.write_timeout):
            await sent.write_eof()

    async def _write_part(self, sent: web.StreamResponse, part: bytes) -> None:
        async with timeout(self._limits.write_timeout):
            await sent.write(part)
        await asyncio.sleep(0)


def _batches(pieces: Sequence[bytes]) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= BATCH:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)


async def _host(request: web.BaseRequest, names: OwnNames) -> Address | None:
    """Return the address that the client connected to, None for a path; raise ``RequestError``.

    Another host's name in the Host header is refused. A web page can send it: its owner lets the
    name resolve to an address of this host (DNS rebinding).
    """
    name = request.transport and request.transport.get_extra_info("sockname")
    if not isinstance(name, tuple):
        return None
    address = parse_address(name[0])
    hosts = request.headers.getall("Host", [])
    own = len(hosts) == 1 and (is_own_host(hosts[0], address) or await names.has(hosts[0]))
    if not own:
        text = "Host is not a name or an address of this host; add it to [HTTP] Hosts="
        raise RequestError(403, "forbidden_host", text)
    return address


def _parsed(request: web.BaseRequest, id_: str, host: Address | None, client: Client) -> Request:
    """Parse a request; raise ``RequestError``."""
    if request.body_exists:
        raise RequestError(400, "invalid_payload", "this API is read-only: send no body")
    return Request(
        id=id_,
        client=client,
        query=request.query,
        accept=request.headers.get("Accept", ""),
        last_event_id=request.headers.get("Last-Event-ID", ""),
        if_none_match=",".join(request.headers.getall("If-None-Match", [])),
        host=str(host or "127.0.0.1"),
        local=host is None or host.is_loopback,
    )
