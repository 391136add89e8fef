"""The head of a request, parsed strictly and in the same way for each kind of upstream."""

import re
from collections.abc import Mapping
from typing import Final

from koi_agent.core.frozen import frozen

USUAL_FIELDS: Final = frozenset(
    {"host", "accept", "accept-encoding", "user-agent", "connection", "content-type"}
)
"""Header fields that are allowed everywhere. None of them changes what a request means."""
_REQUEST_LINE: Final = re.compile(
    r"(GET|POST|PUT|PATCH|DELETE) (/[A-Za-z0-9/._-]{0,400})(?:\?([!-~]{1,4000}))? HTTP/1\.1"
)
_FIELD: Final = re.compile(r"([A-Za-z0-9-]{1,64}):([ \t!-~]{0,1000})")
_CONNECTION: Final = frozenset({"close", "keep-alive"})


class Forbidden(Exception):
    """A request may not pass. The text is the reason and contains no text of the request."""


@frozen(kw_only=True)
class Head:
    """A request without its body. ``query`` is "" without one; ``fields`` are in lower case."""

    method: str
    path: str
    query: str
    fields: Mapping[str, str]

    @property
    def keep_alive(self) -> bool:
        """True if the client may send another request on the connection."""
        return self.fields.get("connection", "").lower() != "close"


def parse_head(head: bytes, allowed: frozenset[str]) -> Head:
    """Parse the head of a request, including its empty line; raise ``Forbidden``.

    ``allowed`` are the header fields that the request may have.
    """
    try:
        first, *lines = head.removesuffix(b"\r\n\r\n").decode("ascii").split("\r\n")
    except UnicodeDecodeError as error:
        raise Forbidden("request is not ASCII") from error
    found = _REQUEST_LINE.fullmatch(first)
    if not found:
        raise Forbidden("request line not allowed")
    fields = _parse_fields(lines, allowed)
    return Head(method=found[1], path=found[2], query=found[3] or "", fields=fields)


def _parse_fields(lines: list[str], allowed: frozenset[str]) -> Mapping[str, str]:
    """Parse the header fields, each of which may occur once."""
    fields: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        name = found[1].lower() if found else ""
        if not found or name not in allowed:
            raise Forbidden("header field not allowed")
        if name in fields:
            raise Forbidden(f"header field {name} stands twice")
        fields[name] = found[2].strip(" \t")
    if "host" not in fields:
        raise Forbidden("header field host is missing")
    if fields.get("connection", "close").lower() not in _CONNECTION:
        raise Forbidden("header field connection must be close or keep-alive")
    return fields
