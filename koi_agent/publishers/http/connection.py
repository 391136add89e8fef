"""One connection: aiohttp's protocol, with deadlines and an end that loses no request."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

from aiohttp import web

from koi_agent.publishers.http.response import Refused, Stream

HEAD_PATIENCE = 10.0
"""Seconds that a client has to send a request."""
IDLE_PATIENCE = 75.0
"""Seconds that a connection is kept between requests."""
GRACE = 0.2
"""Seconds that the next request may take after an answer, when we stop meanwhile."""
UNREAD = 64 * 1024
"""Bytes that a client may send before it is answered: a head and a few more of them."""
SETTINGS: dict[str, Any] = {
    "keepalive_timeout": 1e6,  # ours is used: 3.8 would look every second for the end of its own
    "access_log": None,
    "lingering_time": 0,
    "auto_decompress": False,
}
"""How aiohttp's part is made."""

HEADERS = {
    "Server": "koi-runtime",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""What every answer says."""


class Home(Protocol):
    """Where a connection belongs."""

    def rested(self) -> None:
        """Take note that a connection waits for its next request."""

    def left(self, connection: "Connection") -> None:
        """Take note that a connection is gone and nothing is done for it any more."""


class Connection(web.RequestHandler):
    """A client; ``count`` is told the status of what aiohttp itself makes us answer."""

    def __init__(self, server: web.Server, home: Home, count: Callable[[int], None]) -> None:
        self._clock = asyncio.get_running_loop()
        super().__init__(server, loop=self._clock, **SETTINGS)
        self.closing = False
        self.idle_since = 0.0
        self.stream: Stream | None = None
        self._home = home
        self._count = count
        self._wire: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._unread = 0

    @property
    def idle(self) -> bool:
        """Whether it has been answered, and nothing of a next request is here."""
        return bool(self.idle_since) and not self._busy and not self._unread

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        super().connection_made(transport)
        self._within(HEAD_PATIENCE)

    def data_received(self, data: bytes) -> None:
        if not self._unread and not self._busy:
            self._within(HEAD_PATIENCE)
        self._unread += len(data)
        if self._unread > UNREAD:
            self.abort()
        else:
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's is so
        """Answer who sends nothing more and still listens; a stream's listener is just gone."""
        waiting = self._busy or bool(self._unread)
        if self.stream or not waiting:
            return False
        self.closing = True
        if not self._busy:
            self._within(GRACE)
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._wire = None
        self._cancel()
        if self.stream:
            self.stream.close()
        if not self._busy:
            self._home.left(self)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer a request meanwhile."""
        self._cancel()
        self._busy, self._unread = True, 0
        try:
            yield
        finally:
            self._busy = False
            self.idle_since = self._clock.time()
            if self._wire is None:
                self._home.left(self)
            else:
                self._rest()

    def _rest(self) -> None:
        if self._unread:
            self._within(HEAD_PATIENCE)
        elif self.closing:
            self._within(GRACE)
        else:
            self._within(IDLE_PATIENCE)
            self._home.rested()

    def leave(self) -> None:
        """Come to an end: what was not answered yet is, and then no more."""
        self.closing = True
        if self.idle:
            self._within(max(0.0, self.idle_since + GRACE - self._clock.time()))

    def abort(self) -> None:
        """Cut the connection."""
        if self._wire:
            self._wire.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what can't be read, and what is a bug of ours (aiohttp calls this)."""
        if status >= 500:
            self.log_exception("answering %r failed", request.path[:300], exc_info=exc)
            refused = Refused(status, "internal", "a bug of koi-runtime: its journal tells more")
        else:
            refused = Refused(status, "invalid_request", "this is no HTTP request that we can read")
        if self._wire is None or request.writer.output_size > 0:
            raise ConnectionError("an answer has begun: this one can't be sent")
        self._count(status)
        response = web.Response(
            status=status,
            body=b"".join(refused.answer().pieces),
            headers={**HEADERS, "Connection": "close"},
            content_type=refused.answer().content_type,
        )
        response.force_close()
        return response

    def _within(self, seconds: float) -> None:
        """Cut the connection unless something comes before."""
        self._cancel()
        self._timer = self._clock.call_later(seconds, self.abort)

    def _cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
