"""A client of one engine over its Unix socket: requests, bounded responses, typed errors.

Every failure leaves here as ``BackendLost`` or ``BackendAbsent``, whose text names the socket and
the request. aiohttp takes longer to load than the rest of the agent, so nothing here needs it.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, aclosing, closing, contextmanager
from functools import partial
from typing import Any, Final, Self
from urllib.parse import urlencode
from weakref import WeakSet

from koi_agent.backends.http_engine.connections import Connections
from koi_agent.backends.http_engine.json_fields import get_str
from koi_agent.backends.http_engine.limits import RequestLimits
from koi_agent.backends.http_engine.socket_errors import (
    NothingBehindGate,
    UnixSocket,
    backend_error,
)
from koi_agent.backends.http_engine.streams import (
    MAX_BODY,
    UNBOUNDED,
    LineStream,
    MessageStream,
    ResponseStream,
)
from koi_agent.core.errors import BackendLost
from koi_agent.core.json_stream import ArrayDecoder, StreamError
from koi_agent.core.text import printable
from koi_agent.timeouts import timeout, timeout_at

OK: Final = 200
BAD_GATEWAY: Final = 502
SLICE: Final = 50
"""Array elements decoded before other tasks run: about a millisecond."""
_NO_QUERY: Final[Mapping[str, str]] = {}
_MAX_MESSAGE: Final = 200


class RequestRefused(BackendLost):
    """The engine answered with an HTTP error; ``status`` is its code."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class EngineClient:
    """Sends requests to one engine; leaving the context closes all connections.

    Whole responses come over ``Connections``; lists and streams have connections of their own.
    """

    def __init__(self, socket: UnixSocket, limits: RequestLimits) -> None:
        self.socket = socket
        self.limits = limits
        self._connections = Connections(socket.path, MAX_BODY)
        self._streams: WeakSet[ResponseStream | MessageStream] = WeakSet()
        self._has_ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._has_ended = True
        self._connections.close()
        for stream in list(self._streams):
            stream.close()

    async def get_json(self, path: str, *, within: float = 0) -> Any:
        """Return a whole response, decoded; raise ``BackendLost`` if it is not complete in time.

        ``within`` is the time in seconds, 0 for that of the limits.
        """
        request = f"GET /{path}"
        with self.translated(request):
            self._check_open()
            async with timeout(within or self.limits.response):
                status, body = await self._connections.get(f"/{path}")
            if status != OK:
                raise self.refusal(request, status, _message(body))
            return json.loads(body.decode("utf-8", "replace"))

    async def get_array(
        self, path: str, query: Mapping[str, str] = _NO_QUERY, *, member: str = ""
    ) -> AsyncGenerator[list[object], None]:
        """Yield the elements of a long array, some at a time; raise ``BackendLost``.

        The array is the response, or a ``member`` of it. It is decoded as it arrives, and other
        tasks run in between.
        """
        decoder = ArrayDecoder(MAX_BODY, member)
        with self.translated(f"GET /{path}"):
            async with aclosing(self._pieces(path, query)) as pieces:
                async for piece in pieces:
                    async for elements in _sliced(decoder.feed(piece)):
                        yield elements
            async for elements in _sliced(decoder.close()):
                yield elements

    async def _pieces(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Yield the body of a long response as it arrives."""
        # Each wait has the deadline, not the whole: a timeout must not span a yield, where it
        # would cancel the code that iterates.
        deadline = asyncio.get_running_loop().time() + self.limits.array
        async with timeout_at(deadline):
            response = await self._open(path, query, self.limits.max_array)
        with closing(response):
            while True:
                async with timeout_at(deadline):
                    piece = await response.piece()
                if not piece:
                    return
                yield piece

    async def open_lines(self, path: str, query: Mapping[str, str] = _NO_QUERY) -> LineStream:
        """Return the stream of a response's lines once it has begun; raise ``BackendLost``."""
        request = f"GET /{path}"
        with self.translated(request):
            async with timeout(self.limits.stream):
                response = await self._open(path, query, UNBOUNDED)
        return LineStream(response, self.limits.max_line, partial(self.translated, request))

    async def open_messages(self, path: str) -> MessageStream:
        """Return the stream of a WebSocket's messages once it is open; raise ``BackendLost``."""
        # Engines without WebSockets do not need it, and the hashes that it loads.
        from koi_agent.host.websocket import UpgradeRefused, open_websocket  # noqa: PLC0415

        request = f"GET /{path}"
        with self.translated(request):
            self._check_open()
            try:
                async with timeout(self.limits.stream):
                    opened = await open_websocket(
                        self.socket.path, f"/{path}", self.limits.max_line
                    )
            except UpgradeRefused as refused:
                raise self.refusal(request, refused.status, "") from refused
            stream = MessageStream(opened, partial(self.translated, request))
            self._streams.add(stream)
            return stream

    async def _open(self, path: str, query: Mapping[str, str], limit: int) -> ResponseStream:
        """Return a response whose head is there; raise ``RequestRefused`` for a refusal."""
        self._check_open()
        loop = asyncio.get_running_loop()
        _, response = await loop.create_unix_connection(
            lambda: ResponseStream(limit), self.socket.path
        )
        with ExitStack() as stack:
            stack.callback(response.close)
            self._check_open()
            self._streams.add(response)
            await response.request(f"/{path}?{urlencode(query)}" if query else f"/{path}")
            if response.status != OK:
                message = _message(await response.read())
                raise self.refusal(f"GET /{path}", response.status, message)
            stack.pop_all()
        return response

    def _check_open(self) -> None:
        """Check that the session is open: a D-Bus call may arrive while it is being closed."""
        if self._has_ended:
            raise StreamError("the session has ended")

    @contextmanager
    def translated(self, request: str) -> Iterator[None]:
        """Raise every error of a request as ``BackendLost`` or ``BackendAbsent``."""
        try:
            yield
        except (OSError, ValueError, RecursionError) as error:
            raise self.translation(request, error) from error

    def translation(self, request: str, error: BaseException | None) -> BackendLost:
        """Return the backend's error for ``error``."""
        subject = f"{self.socket}: {request}"
        match error:
            case TimeoutError():
                return BackendLost(f"{subject}: no response in time")
            case OSError() if error.errno:
                return backend_error(self.socket, error)
            case StreamError():
                return BackendLost(f"{subject}: {error}")
            case ValueError() | RecursionError():
                return BackendLost(f"{subject}: the response is not JSON")
            case _:
                return BackendLost(f"{subject}: connection lost: {type(error).__name__}")

    def refusal(self, request: str, status: int, message: str) -> BackendLost:
        """Return what an HTTP status other than 200 means, with the engine's own message."""
        if status == BAD_GATEWAY:
            return NothingBehindGate(f"{self.socket}: this gate has no engine behind it")
        reason = f": {printable(message, _MAX_MESSAGE)}" if message else ""
        return RequestRefused(f"{self.socket}: {request}: HTTP status {status}{reason}", status)


async def _sliced(elements: Iterator[object]) -> AsyncIterator[list[object]]:
    """Yield elements in slices, and let other tasks run between them."""
    slice_: list[object] = []
    for element in elements:
        slice_.append(element)
        if len(slice_) == SLICE:
            yield slice_
            slice_ = []
            await asyncio.sleep(0)
    if slice_:
        yield slice_


def _message(text: bytes) -> str:
    """Return the message of an error response, under the key that its API uses, or ""."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return get_str(body, "message") or get_str(body, "error") if isinstance(body, dict) else ""
