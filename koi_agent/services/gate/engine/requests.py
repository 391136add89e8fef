"""The requests that may pass the gate of a container engine.

A request is never forwarded. If it is one of those below, the gate writes its own to the engine, so
that the checked request and the one that the engine reads can't differ. A request that is not
spelled as the agent spells it is refused: the gate has no other client.
"""

import json
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final
from urllib.parse import parse_qsl, urlencode

from koi_agent.core.frozen import frozen
from koi_agent.host.engines import EVENTS, IMAGE_ID
from koi_agent.services.gate.head import Forbidden, Head

_VERSION: Final = r"(?:/v1\.[0-9]{1,2})?"
_ID: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_SINCE: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_EVENT_FILTERS: Final = json.dumps(EVENTS)
"""The filter for the engine, which replaces that of the request."""


class Endpoint(Enum):
    """A part of the engine's API that may be read."""

    PING = auto()
    VERSION = auto()
    LIST = auto()
    INSPECT = auto()
    SERVICE = auto()
    IMAGE = auto()
    EVENTS = auto()


_PATHS: Final = {
    Endpoint.PING: re.compile("/_ping"),
    Endpoint.VERSION: re.compile("/version"),
    Endpoint.LIST: re.compile(f"{_VERSION}/containers/json"),
    Endpoint.INSPECT: re.compile(
        f"(?:{_VERSION}|(?P<libpod>/v4\\.0\\.0/libpod))/containers/{_ID}/json"
    ),
    Endpoint.SERVICE: re.compile(f"{_VERSION}/services/{_ID}"),
    Endpoint.IMAGE: re.compile(f"{_VERSION}/images/{IMAGE_ID}/json"),
    Endpoint.EVENTS: re.compile(f"{_VERSION}/events"),
}
_QUERY_KEYS: Final[Mapping[Endpoint, frozenset[str]]] = {
    Endpoint.LIST: frozenset({"all"}),
    Endpoint.EVENTS: frozenset({"since", "filters"}),
}


@frozen(kw_only=True)
class Request:
    """A request that may pass. ``target`` is built here."""

    endpoint: Endpoint
    target: str

    @property
    def head(self) -> bytes:
        """Return the request to the engine: HTTP/1.0, so its response ends with the connection."""
        return f"GET {self.target} HTTP/1.0\r\nHost: gate\r\n\r\n".encode()


def parse_request(head: Head) -> Request:
    """Return the request to the engine for the head of a client's; raise ``Forbidden``."""
    if head.method != "GET":
        raise Forbidden("method not allowed")
    endpoint, path = _match_path(head.path)
    query = _parse_query(endpoint, head.query)
    return Request(endpoint=endpoint, target=f"{path}?{urlencode(query)}" if query else path)


def _match_path(path: str) -> tuple[Endpoint, str]:
    """Return the endpoint of a path, and the path as it was matched."""
    for endpoint, pattern in _PATHS.items():
        if found := pattern.fullmatch(path):
            return endpoint, found[0]
    raise Forbidden("path not allowed")


def _parse_query(endpoint: Endpoint, text: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=4)
    except ValueError as error:
        raise Forbidden("malformed query") from error
    query = dict(pairs)
    if len(query) < len(pairs) or not query.keys() <= _QUERY_KEYS.get(endpoint, frozenset()):
        raise Forbidden("query key not allowed, or there twice")
    for key, value in query.items():
        _check_value(key, value)
    return query | ({"filters": _EVENT_FILTERS} if endpoint is Endpoint.EVENTS else {})


def _check_value(key: str, value: str) -> None:
    """Raise ``Forbidden`` for a value that is not allowed; the value of ``filters`` is replaced."""
    is_allowed = value == "1" if key == "all" else bool(_SINCE.fullmatch(value))
    if key != "filters" and not is_allowed:
        raise Forbidden(f"query value of {key} not allowed")
