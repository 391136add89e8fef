"""The API of a cluster: the requests that the backend sends, all of which only read.

Every failure leaves here as ``BackendLost``, whose text names the server and the request.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from random import uniform
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from koi_agent.backends.http_engine.json_fields import JSONObject, as_object, get_str
from koi_agent.backends.kubernetes.access import Access
from koi_agent.backends.kubernetes.authenticator import Authenticator
from koi_agent.backends.kubernetes.tunables import Tunables
from koi_agent.core.errors import BackendLost, BadInput
from koi_agent.core.json_stream import LineSplitter
from koi_agent.core.text import printable
from koi_agent.host.http_client import (
    Client,
    Incoming,
    Limits,
    RequestFailed,
    Response,
    ResponseTooLong,
    client,
)

MAX_BODY: Final = 64 * 2**20
"""Maximum number of bytes of a page. etcd holds objects of up to 1.5 MB."""
MAX_LINE: Final = 16 * 2**20
"""Maximum number of bytes of one event of a watch. A server writes some characters as six bytes."""
SHORTEST_WATCH: Final = 0.8
"""Smallest part of the longest time for a watch: watches must not all end at the same time."""
MAX_REFUSAL: Final = 64 * 1024
_UNBOUNDED: Final = 2**63 - 1
_MAX_MESSAGE: Final = 300
_OK, _UNAUTHORIZED, _GONE, _BUSY = 200, 401, 410, 429
_OVERLOADED: Final = (_BUSY, 503, 504)
"""Statuses of a server that is busy or starting, and may answer a later request."""

Query = Mapping[str, str | int]
T = TypeVar("T")


class Refused(BackendLost):
    """The server answered with an error; ``status`` is its HTTP status.

    ``pause`` is the seconds after which a busy server may be asked again, and 0 for other errors.
    """

    def __init__(self, text: str, status: int, pause: float = 0.0) -> None:
        super().__init__(text)
        self.status = status
        self.pause = pause


class Expired(BackendLost):
    """The server no longer has the requested events or the requested list."""


class TooLong(BackendLost):
    """A response is longer than the limit."""


class Interrupted(BackendLost):
    """A watch has ended before its time."""


class API:
    """Sends requests to one server; see ``connected``.

    ``streams_lists`` is False if the server can't begin a watch with a list, or not in time.
    """

    def __init__(
        self, requests: Client, access: Access, authenticator: Authenticator, tunables: Tunables
    ) -> None:
        self.server = access.server
        self.streams_lists = True
        self._client = requests
        self._access = access
        self._authenticator = authenticator
        self.tunables = tunables

    async def get(self, path: str, query: Query | None = None) -> JSONObject:
        """Return an object; raise ``BackendLost``. A server that is busy is asked again."""
        return await self.asked(lambda: self._get(path, query or {}), self.tunables.tries)

    async def asked(self, request: Callable[[], Awaitable[T]], tries: int) -> T:
        """Return the result of a request, which is sent again while the server is busy."""
        for number in range(tries - 1):
            try:
                return await request()
            except Refused as refused:
                if not refused.pause:
                    raise
                await asyncio.sleep(min(refused.pause * 2**number, self.tunables.longest_retry))
        return await request()

    async def _get(self, path: str, query: Query) -> JSONObject:
        target = f"{path}?{urlencode(query)}" if query else path
        limits = Limits(seconds=self.tunables.response, body=MAX_BODY)
        with self._translated(target):
            headers = await self._headers()
            response = await self._client.request("GET", target, limits, headers=headers)
            if response.status == _OK:
                return as_object(response.json())
        raise self._refusal(target, response)

    async def pages(self, path: str, query: Query) -> AsyncGenerator[JSONObject, None]:
        """Yield the pages of a list; raise ``Expired`` if it is too old to be continued.

        A page of large objects is asked for again with fewer of them.
        """
        following, size = "", self.tunables.page
        while True:
            more: Query = {"continue": following} if following else {}
            try:
                page = await self.get(path, {**query, "limit": size, **more})
            except TooLong:
                if size == 1:
                    raise
                size //= 2
                continue
            yield page
            metadata = page.get("metadata")
            following = get_str(metadata, "continue") if isinstance(metadata, dict) else ""
            if not following:
                return

    @asynccontextmanager
    async def watch(
        self, path: str, query: Query
    ) -> AsyncIterator[AsyncGenerator[list[bytes], None]]:
        """Yield the lines of a watch as they come; raise ``BackendLost``.

        They end when the server ends the watch, which it does within the time in ``Tunables``.
        ``Interrupted`` is raised if it ends otherwise. A line that is too long comes as an empty
        one.
        """
        seconds = self.tunables.watch
        wanted = seconds * uniform(SHORTEST_WATCH, 1)  # noqa: S311 - jitter needs no secure randomness
        every: Query = {
            **query,
            "watch": 1,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": max(1, int(wanted)),
        }
        target = f"{path}?{urlencode(every)}"
        limits = Limits(seconds=seconds + self.tunables.watch_grace, body=_UNBOUNDED)
        has_begun = False
        try:
            with self._translated(target):
                headers = await self._headers()
                async with self._client.sent("GET", target, limits, headers=headers) as incoming:
                    if incoming.status != _OK:
                        raise self._refusal(target, await _short(incoming))
                    has_begun = True
                    yield _lines(incoming)
        except (Refused, Expired):
            raise
        except BackendLost as lost:
            raise (Interrupted(str(lost)) if has_begun else lost) from lost

    async def _headers(self) -> Mapping[str, str]:
        credentials = await self._authenticator.headers(self._access)
        return {"Accept": "application/json", **credentials}

    @contextmanager
    def _translated(self, target: str) -> Iterator[None]:
        try:
            yield
        except ResponseTooLong as error:
            raise TooLong(f"{self._subject(target)}: {error}") from error
        except (RequestFailed, BadInput) as error:
            raise BackendLost(f"{self._subject(target)}: {error}") from error

    def _subject(self, target: str) -> str:
        return f"{self.server}: GET {target.partition('?')[0]}"

    def _refusal(self, target: str, response: Response) -> BackendLost:
        """Return what a status other than 200 means, with the server's own message."""
        subject, message = self._subject(target), _message(response.body)
        if response.status == _GONE:
            return Expired(f"{subject}: {message or 'expired'}")
        if response.status == _UNAUTHORIZED:
            self._authenticator.reject()
            return Refused(
                f"{subject}: the credentials of {self._access.origin} are not accepted",
                response.status,
            )
        reason = f": {message}" if message else ""
        text = f"{subject}: HTTP status {response.status}{reason}"
        pause = self._pause(response) if response.status in _OVERLOADED else 0.0
        return Refused(text, response.status, pause)

    def _pause(self, response: Response) -> float:
        """Return the pause in seconds that a busy server requests."""
        text = response.headers.get("retry-after", "")
        seconds = float(text) if text.isascii() and text.isdigit() else 0.0
        return min(max(seconds, self.tunables.retry_after), self.tunables.longest_retry)


@asynccontextmanager
async def connected(
    access: Access, authenticator: Authenticator, tunables: Tunables, *, connections: int
) -> AsyncIterator[API]:
    """Yield the API of a server, with a number of connections; raise ``BackendLost``."""
    known = await authenticator.authenticated(access)
    async with client(known.server, tls=known.tls(), connections=connections) as requests:
        yield API(requests, known, authenticator, tunables)


async def _lines(incoming: Incoming) -> AsyncGenerator[list[bytes], None]:
    splitter = LineSplitter(MAX_LINE)
    async with aclosing(incoming.pieces()) as pieces:
        async for piece in pieces:
            if lines := splitter.feed(piece):
                yield lines


async def _short(incoming: Incoming) -> Response:
    """Return a refusal, whose body counts only if it is short."""
    body = bytearray()
    async with aclosing(incoming.pieces()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > MAX_REFUSAL:
                break
    return Response(status=incoming.status, headers=incoming.headers, body=bytes(body))


def _message(body: bytes) -> str:
    """Return the message of an error response, or ""."""
    try:
        status: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    message = get_str(status, "message") if isinstance(status, dict) else ""
    return printable(message, _MAX_MESSAGE)
