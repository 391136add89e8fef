"""A client's connection: aiohttp's protocol with deadlines, and an end that loses no request."""

import asyncio
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

from aiohttp import web

from koi_agent.publishers.http.clients import Client
from koi_agent.publishers.http.limits import Limits
from koi_agent.publishers.http.response import RequestError, Stream

SETTINGS: dict[str, Any] = {
    # Deadlines are set here: aiohttp 3.8 would wake up every second for its own.
    "keepalive_timeout": 1e6,
    "access_log": None,
    "lingering_time": 0,
    "auto_decompress": False,
}
"""Settings of aiohttp's protocol."""

HEADERS = {
    "Server": "koi-runtime",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every response."""


class Owner(Protocol):
    """The listener that a connection belongs to."""

    def on_idle(self, connection: "Connection") -> None:
        """Handle that a connection waits for its next request."""

    def on_closed(self, connection: "Connection") -> None:
        """Handle that a connection is closed and its last request is handled."""


class Connection(web.RequestHandler):
    """A client's connection; ``count`` is called with the status of errors that aiohttp finds."""

    def __init__(
        self,
        server: web.Server,
        owner: Owner,
        client: Client,
        count: Callable[[int], None],
        limits: Limits,
    ) -> None:
        self._clock = asyncio.get_running_loop()
        super().__init__(server, loop=self._clock, **SETTINGS)
        self.client = client
        self.closing = False
        self.since = self._clock.time()
        self.idle_since = 0.0
        self.stream: Stream | None = None
        self._owner = owner
        self._count = count
        self._limits = limits
        self._open_transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._handler: asyncio.Task[Any] | None = None
        self._busy = False
        self._unread = 0

    @property
    def idle(self) -> bool:
        """True after a response, while no byte of a next request has arrived."""
        return bool(self.idle_since) and not self._busy and not self._unread

    @property
    def headless(self) -> bool:
        """True while no whole request has arrived since the last response."""
        return self._open_transport is not None and not self._busy and not self.idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._open_transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)
        self._abort_after(self._limits.request_timeout)

    def data_received(self, data: bytes) -> None:
        if not self._unread and not self._busy:
            if self.idle:
                self.since = self._clock.time()
            self._abort_after(self._limits.request_timeout)
        self._unread += len(data)
        if self._unread > self._limits.unread_bytes:
            self.abort()
        else:
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio documents bool
        """Keep the connection open for the responses to what has arrived.

        A stream has no end to wait for: its connection is closed. So is that of a client that
        is gone.
        """
        waiting = self._busy or bool(self._unread)
        if self.stream or not waiting or _hung_up(self._open_transport):
            return False
        self.closing = True
        if not self._busy:
            self._abort_after(self._limits.last_request_timeout)
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._open_transport = None
        self._cancel_deadline()
        if self.stream:
            self.stream.close()
        elif self._handler:
            self._handler.cancel()
        if not self._busy:
            self._owner.on_closed(self)

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Mark the connection as busy while a request is handled.

        The task of the request is cancelled once the client is gone.
        """
        self._cancel_deadline()
        self._handler = asyncio.current_task()
        self._busy, self._unread = True, 0
        try:
            yield
        finally:
            self._handler, self._busy = None, False
            self.idle_since = self._clock.time()
            if self._open_transport is None:
                self._owner.on_closed(self)
            else:
                self._wait_for_request()

    def _wait_for_request(self) -> None:
        if self._unread:
            self._abort_after(self._limits.request_timeout)
        elif self.closing:
            self._abort_after(self._limits.last_request_timeout)
        else:
            self._abort_after(self._limits.idle_timeout)
            self._owner.on_idle(self)

    def finish(self) -> None:
        """Close the connection after the responses to the requests that have arrived."""
        self.closing = True
        if self.idle:
            end = self.idle_since + self._limits.last_request_timeout
            self._abort_after(max(0.0, end - self._clock.time()))

    def abort(self) -> None:
        """Close the connection at once."""
        if self._open_transport:
            self._open_transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the response to a malformed request or a bug; aiohttp calls this."""
        if status >= 500:
            self.log_exception("handling %r failed", request.path[:300], exc_info=exc)
            text = "internal error: the journal of koi-runtime has the details"
            error = RequestError(status, "internal", text)
        else:
            error = RequestError(status, "invalid_request", "malformed HTTP request")
        if self._open_transport is None or request.writer.output_size > 0:
            raise ConnectionError("a response has begun: the error cannot be sent")
        self._count(status)
        response = web.Response(
            status=status,
            body=b"".join(error.response().pieces),
            headers={**HEADERS, "Connection": "close"},
            content_type=error.response().content_type,
        )
        response.force_close()
        return response

    def _abort_after(self, seconds: float) -> None:
        """Set the deadline, which replaces an earlier one."""
        self._cancel_deadline()
        self._deadline = self._clock.call_later(seconds, self.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


def _hung_up(transport: asyncio.Transport | None) -> bool:
    """Return True if the client can no longer read, as far as the kernel knows."""
    sock = transport and transport.get_extra_info("socket")
    if not sock:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return bool(poll.poll(0))
