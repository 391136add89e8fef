"""The client's door to aiohttp: bounded requests to a base URL, over TCP, TLS or a Unix socket.

A client follows no redirects, keeps no cookies and reads no proxy from the environment. Modules
that need it are loaded late, because aiohttp takes 12 MB and 0.15 s.
"""

import codecs
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from koi_agent.core.errors import KoiError
from koi_agent.core.frozen import frozen
from koi_agent.core.json_stream import StreamError
from koi_agent.core.text import printable
from koi_agent.timeouts import timeout

CLIENT_ERROR: Final = aiohttp.ClientError
"""The base of aiohttp's errors, apart from those of the operating system."""

LibrarySession = aiohttp.ClientSession
"""The type of a session for a client library."""

MOST_CONNECTIONS: Final = 4
_LONGEST_REASON: Final = 300
_CLOSED: Final = "the client is closed"


class RequestFailed(KoiError):
    """A request without a usable response; the text is the reason, and printable.

    ``was_sent`` is False if the server certainly has not received the request.
    """

    def __init__(self, reason: str, *, was_sent: bool = True) -> None:
        super().__init__(printable(reason, _LONGEST_REASON))
        self.was_sent = was_sent


class ResponseTooLong(RequestFailed):
    """A response whose body is longer than the limit of the request."""


@frozen(kw_only=True)
class Limits:
    """The bounds of a request, from its start to the end of its response.

    ``body`` is the most bytes that the body of the response may have.
    """

    seconds: float
    body: int


@frozen(kw_only=True)
class Response:
    """A whole response. The names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body; raise ``RequestFailed``."""
        return parsed(self.body)


class Incoming:
    """A response whose body is read in pieces, of at most ``most`` bytes together."""

    def __init__(self, response: aiohttp.ClientResponse, most: int) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._response = response
        self._most = most

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives; raise ``RequestFailed`` if it is too long."""
        size = 0
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise RequestFailed("its response is compressed, which was not requested")
        try:
            async for piece in self._response.content.iter_any():
                size += len(piece)
                if size > self._most:
                    raise ResponseTooLong(f"its response is longer than {self._most} bytes")
                yield piece
        except RuntimeError as error:
            # So aiohttp reports a client that was closed between two reads.
            raise RequestFailed(_CLOSED) from error

    async def whole(self) -> Response:
        """Read the rest of the response."""
        body = bytearray()
        async for piece in self.pieces():
            body += piece
        return Response(status=self.status, headers=self.headers, body=bytes(body))


class Client:
    """Sends requests to one server; see ``client``."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def request(
        self,
        method: str,
        path: str,
        limits: Limits,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Send a request, and return the whole response; raise ``RequestFailed``."""
        async with self.sent(method, path, limits, headers=headers, body=body) as incoming:
            return await incoming.whole()

    @asynccontextmanager
    async def sent(
        self,
        method: str,
        path: str,
        limits: Limits,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> AsyncIterator[Incoming]:
        """Send a request, and yield the response as it arrives; raise ``RequestFailed``."""
        if self._session.closed:
            raise RequestFailed(_CLOSED, was_sent=False)
        try:
            async with (
                timeout(limits.seconds),
                self._session.request(
                    method,
                    f"{self._url}{path}",
                    headers={"Accept-Encoding": "identity", **(headers or {})},
                    data=body,
                    allow_redirects=False,
                ) as response,
            ):
                yield Incoming(response, limits.body)
        except TimeoutError:
            raise RequestFailed(f"no response within {limits.seconds:g} s") from None
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            has_connected = not isinstance(error, aiohttp.ClientConnectorError)
            raise RequestFailed(_reason(error), was_sent=has_connected) from error


@asynccontextmanager
async def client(
    url: str,
    *,
    socket: str = "",
    tls: ssl.SSLContext | None = None,
    connections: int = MOST_CONNECTIONS,
) -> AsyncIterator[Client]:
    """Yield a client of the server at ``url``, whose path begins those of all requests.

    ``socket`` is the path of a Unix socket at which the server is reached instead. ``tls`` holds
    certificates; by default, those of the system are trusted.
    """
    connector: aiohttp.BaseConnector
    if socket:
        connector = aiohttp.UnixConnector(socket, limit=connections)
    elif tls is None:
        connector = aiohttp.TCPConnector(limit=connections)
    else:
        connector = aiohttp.TCPConnector(limit=connections, ssl=tls)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),  # none: each request has its own
        auto_decompress=False,  # a few bytes can become many
    ) as session:
        yield Client(session, url)


def parsed(body: bytes) -> Any:
    """Parse JSON, in which bytes that are not UTF-8 are replaced; raise ``RequestFailed``."""
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise RequestFailed("its response is not JSON") from None


def _reason(error: Exception) -> str:
    """Return why a request failed, without the names of classes if possible."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            # In aiohttp 3.8, this error has no os_error, although its base class promises one.
            return f"its certificate is not valid: {_certificate_reason(error)}"
        case aiohttp.ClientConnectorError():
            return error.os_error.strerror or str(error.os_error) or "no connection"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection"
        case aiohttp.ClientPayloadError():
            return "its response is incomplete"
        # The second comes from aiohttp's parser in Python, for the body of a response.
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return f"its response is not HTTP: {error.message}"
        case OSError(strerror=str(text)) if text:
            return text
        case _:
            return str(error) or type(error).__name__


def _certificate_reason(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return getattr(cause, "verify_message", "") or str(cause)


def library_session(socket: str, most: int) -> LibrarySession:
    """Return a session for a client library that works on aiohttp, over a Unix socket.

    Each body that the library reads has at most ``most`` bytes. ``StreamError`` is raised beyond.
    """

    class Bounded(BoundedResponse):
        most_bytes = most

    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(socket),
        response_class=Bounded,
        timeout=aiohttp.ClientTimeout(),  # none: each request has its own
    )


class BoundedResponse(aiohttp.ClientResponse):
    """A response whose body is at most ``most_bytes`` long; see ``library_session``."""

    most_bytes = 0

    async def read(self) -> bytes:
        """Read the body; the connection of a longer one is closed."""
        body = bytearray()
        try:
            while not self.content.at_eof():
                body += await self.content.readany()
                if len(body) > self.most_bytes:
                    raise StreamError(f"the response is longer than {self.most_bytes} bytes")
        finally:
            # The rest of a body would be read as the next response.
            if not self.content.at_eof():
                self.close()
        return bytes(body)

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """Read and decode the body."""
        return codecs.decode(await self.read(), encoding or "utf-8", errors)

    async def json(
        self,
        *,
        encoding: str | None = None,
        loads: Callable[[str], Any] = json.loads,
        content_type: str | None = None,
    ) -> Any:
        """Read and parse the body, whatever its content type."""
        return loads(await self.text(encoding, "replace"))
