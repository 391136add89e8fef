"""What a request says and what it is answered, as values: nothing here knows of aiohttp."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from koi_agent.core.errors import KoiError

JSON = "application/json"


class Stream(Protocol):
    """An answer without an end of its own."""

    async def next(self) -> bytes:
        """Wait for more to send; empty at the end."""

    def close(self) -> None:
        """Let go of it; ``next`` comes to its end soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a request says that an answer can depend on.

    ``id`` is the part of the path that a route leaves open, decoded. ``host`` is the address at
    which the client reached us, and with that this host; ``local`` tells that the client is on
    this host itself.
    """

    id: str = ""
    query: Mapping[str, str]
    accept: str
    last_event_id: str
    host: str
    local: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer; ``pieces`` are the whole body, unless there is a ``stream``."""

    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Sequence[bytes] = ()
    stream: Stream | None = None


class Refused(KoiError):
    """A request that is answered with an error: ``code`` is for programs, the text for people."""

    def __init__(
        self, status: int, code: str, text: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self._headers = headers or {}

    def answer(self) -> Response:
        """Spell it in upstream's shape."""
        shown = encoded({"error": self.code, "message": str(self)})
        return Response(status=self.status, headers=self._headers, pieces=[shown])


def encoded(value: Any) -> bytes:
    r"""Encode as JSON, in ASCII: what is foreign comes out as ``\u`` escapes, in one line."""
    return json.dumps(value, separators=(",", ":")).encode()


def page(value: Any) -> Response:
    """Make an answer of a small value."""
    return Response(pieces=[encoded(value)])
