"""Requests and responses as values, without aiohttp."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from koi_agent.core.errors import KoiError
from koi_agent.core.frozen import frozen
from koi_agent.publishers.http.clients import Client

JSON = "application/json"


class Stream(Protocol):
    """A body without an end of its own."""

    async def next(self) -> bytes:
        """Wait for the next part; return b"" at the end."""

    def close(self) -> None:
        """Release the stream; ``next`` soon returns b"" then."""


@frozen(kw_only=True)
class Request:
    """The parts of a request that a response can depend on.

    ``id`` is the decoded rest of the path after a route's folder. ``client`` is the uid or the
    address that the connection belongs to. ``host`` is the address of this
    host that the client connected to. ``local`` is true for a client on this host.
    """

    id: str = ""
    client: Client = 0
    query: Mapping[str, str]
    accept: str
    last_event_id: str
    if_none_match: str = ""
    host: str
    local: bool


@frozen(kw_only=True)
class Response:
    """A response; ``pieces`` are the whole body, unless there is a ``stream``."""

    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Sequence[bytes] = ()
    stream: Stream | None = None


class RequestError(KoiError):
    """A request that gets an error response; ``code`` is for programs, the text for people."""

    def __init__(
        self, status: int, code: str, text: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self._headers = headers or {}

    def response(self) -> Response:
        """Return the error response, in upstream Koi's form."""
        body = encode_json({"error": self.code, "message": str(self)})
        return Response(status=self.status, headers=self._headers, pieces=[body])


def encode_json(value: Any) -> bytes:
    r"""Encode a value as JSON in one line of ASCII; other characters become ``\u`` escapes."""
    return json.dumps(value, separators=(",", ":")).encode()


def json_response(value: Any) -> Response:
    """Return a response with a small JSON body."""
    return Response(pieces=[encode_json(value)])
