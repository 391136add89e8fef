"""Serves the pages on sockets, and tells listeners what happens."""

import asyncio
import logging
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Never, cast

from aiohttp import web

from koi_agent.core.events import Event
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.registry import Registry
from koi_agent.publishers.http.agent_status import AgentStatus
from koi_agent.publishers.http.connection import HEADERS, Connection
from koi_agent.publishers.http.handlers import Handlers
from koi_agent.publishers.http.listener import Listener
from koi_agent.publishers.http.response import Refused, Request, Response
from koi_agent.publishers.http.routes import Routes

log = logging.getLogger(__name__)

STOP_PATIENCE = 2.0
"""Seconds that a stop waits for requests to be answered."""
WRITE_PATIENCE = 10.0
"""Seconds that a client has to make room for more."""
BATCH = 64
"""Pieces of an answer that are written at once."""
HOST = re.compile(r"\[?([^\[\]:@/]+|(?<=\[)[0-9A-Fa-f:.]+(?=\]))\]?(?::[0-9]*)?")
"""A Host header: a name or an address, an IPv6 one in brackets, and a port."""
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class HTTPPublisher:
    """An event sink; ``serve`` shows what it knows on sockets.

    ``facts`` tells what the agent as a whole is, whenever that is asked for; ``grace`` has seen
    the same events.
    """

    def __init__(
        self, registry: Registry, grace: RestartGrace, facts: Callable[[], AgentStatus]
    ) -> None:
        self._pages = Handlers(registry, grace, facts)
        self._routes = Routes(self._pages, facts().version)

    def publish(self, events: Sequence[Event]) -> None:
        """Keep events for those who listen."""
        self._pages.streams.publish(events)

    async def serve(self, sockets: Sequence[socket.socket]) -> Never:
        """Accept and answer until cancelled, then answer what was accepted and go.

        The end is bounded by ``STOP_PATIENCE``. The sockets listen and don't block; they stay
        open, and whoever opened them closes them. May be called again after it has ended.
        """
        async with asyncio.TaskGroup() as group:
            server = web.Server(self._answer)
            listeners = [Listener(s, server, self._count, group) for s in sockets]
            try:
                for listener in listeners:
                    listener.open()
                await asyncio.get_running_loop().create_future()
            finally:
                await self._leave(listeners)
                await server.shutdown(STOP_PATIENCE)
        raise AssertionError("serving has no end")

    async def _leave(self, listeners: Iterable[Listener]) -> None:
        for listener in listeners:
            listener.close()
        self._pages.streams.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_PATIENCE):
                for listener in listeners:
                    await listener.empty.wait()
        if cut := sum(listener.abort() for listener in listeners):
            log.info("%d connections were cut: they took too long", cut)
            for listener in listeners:
                await listener.empty.wait()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast("Connection", request.protocol)  # a listener makes no others
        with connection.answering():
            try:
                host = _reached(request)
                route, id_ = self._routes.find(request.method, request.rel_url.raw_path)
                answer = await route.page(_asked(request, id_, host))
            except Refused as refused:
                answer = refused.answer()
            return await self._send(request, connection, answer)

    async def _send(
        self, request: web.BaseRequest, connection: Connection, answer: Response
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers={**HEADERS, **answer.headers})
        response.headers["Content-Type"] = answer.content_type
        if not answer.stream:
            response.content_length = sum(map(len, answer.pieces))
        if connection.closing or answer.stream or request.body_exists:
            response.force_close()
        self._count(answer.status)
        connection.stream = answer.stream
        try:
            await _write(request, response, answer)
        except (ConnectionError, TimeoutError) as error:
            log.debug("an answer was not taken: %r", error)
            connection.abort()
        finally:
            if answer.stream:
                answer.stream.close()
        return response

    def _count(self, status: int) -> None:
        self._pages.requests[status] += 1


async def _write(request: web.BaseRequest, response: web.StreamResponse, answer: Response) -> None:
    """Send an answer as fast as it is taken; raises ``ConnectionError`` and ``TimeoutError``."""
    async with asyncio.timeout(WRITE_PATIENCE):
        await response.prepare(request)
    if request.method != "HEAD":
        for batch in _batches(answer.pieces):
            await _write_some(response, batch)
        while answer.stream and (batch := await answer.stream.next()):
            await _write_some(response, batch)
    async with asyncio.timeout(WRITE_PATIENCE):
        await response.write_eof()


async def _write_some(response: web.StreamResponse, batch: bytes) -> None:
    async with asyncio.timeout(WRITE_PATIENCE):
        await response.write(batch)
    await asyncio.sleep(0)


def _batches(pieces: Sequence[bytes]) -> Iterator[bytes]:
    for at in range(0, len(pieces), BATCH):
        yield b"".join(pieces[at : at + BATCH])


def _reached(request: web.BaseRequest) -> str:
    """Tell the address that the client connected to, "" for a path; raises ``Refused``.

    A Host that is not ours is refused: it is that of a page in a browser, whose owner made its
    name point here.
    """
    named = request.transport and request.transport.get_extra_info("sockname")
    if not isinstance(named, tuple):
        return ""
    address: str = named[0]
    said = request.headers.getall("Host", [])
    found = HOST.fullmatch(said[0].strip()) if len(said) == 1 else None
    if not found or found[1].lower() not in LOCAL_NAMES | {address}:
        text = "Host must be localhost or the address that is connected to"
        raise Refused(403, "forbidden_host", text)
    return address


def _asked(request: web.BaseRequest, id_: str, host: str) -> Request:
    """Read what a request says; raises ``Refused``."""
    if request.body_exists:
        raise Refused(400, "invalid_payload", "this API is read-only: a request has no body")
    return Request(
        id=id_,
        query=request.query,
        accept=request.headers.get("Accept", ""),
        last_event_id=request.headers.get("Last-Event-ID", ""),
        host=host or "127.0.0.1",
        local=not host or ip_address(host).is_loopback,
    )
