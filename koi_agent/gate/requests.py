"""What may be asked through the gate, each question known whole.

A request is never passed on. What can be read as one of these questions is written anew for the
engine, so that what was judged here and what the engine reads can't differ. Whatever is not spelled
as the agent spells it is refused: nobody else is meant to come here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import parse_qsl, urlencode

from koi_agent.host.engines import EVENTS

LONGEST_HEAD: Final = 16 * 1024

_REQUEST: Final = re.compile(r"GET (/[A-Za-z0-9/._-]{0,400})(?:\?([!-~]{1,4000}))? HTTP/1\.1")
_FIELD: Final = re.compile(r"([A-Za-z0-9-]{1,64}):([ \t!-~]{0,1000})")
_FIELDS: Final = frozenset(
    {"host", "accept", "accept-encoding", "user-agent", "connection", "content-type"}
)
"""Header fields of a question; whatever may change what a request is, is not among them."""
_CONNECTION: Final = frozenset({"close", "keep-alive"})
_VERSION: Final = r"(?:/v1\.[0-9]{1,2})?"
_ID: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_SINCE: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_EVENTS: Final = json.dumps(EVENTS)
"""Which events are asked for, whatever the question says."""


class Kind(Enum):
    """What is asked."""

    PING = auto()
    VERSION = auto()
    INFO = auto()
    LIST = auto()
    INSPECT = auto()
    EVENTS = auto()


_PATHS: Final = {
    Kind.PING: re.compile("/_ping"),
    Kind.VERSION: re.compile("/version"),
    Kind.INFO: re.compile(f"{_VERSION}/info"),
    Kind.LIST: re.compile(f"{_VERSION}/containers/json"),
    Kind.INSPECT: re.compile(
        f"(?:{_VERSION}|(?P<libpod>/v4\\.0\\.0/libpod))/containers/{_ID}/json"
    ),
    Kind.EVENTS: re.compile(f"{_VERSION}/events"),
}
_KEYS: Final[Mapping[Kind, frozenset[str]]] = {
    Kind.LIST: frozenset({"all"}),
    Kind.EVENTS: frozenset({"since", "filters"}),
}


class Forbidden(Exception):
    """A request is no question that may be asked; the text says why, in our own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question: ``target`` is what the engine is asked for, written anew."""

    kind: Kind
    target: str
    keeps: bool

    @property
    def head(self) -> bytes:
        """Write the request for the engine: of HTTP/1.0, whose answers end with the connection."""
        return f"GET {self.target} HTTP/1.0\r\nHost: gate\r\n\r\n".encode()


def question(head: bytes) -> Question:
    """Read the head of a request, up to its empty line; raises ``Forbidden``."""
    try:
        first, *rest = head.removesuffix(b"\r\n\r\n").decode("ascii").split("\r\n")
    except UnicodeDecodeError as error:
        raise Forbidden("a request is ASCII") from error
    found = _REQUEST.fullmatch(first)
    if not found:
        raise Forbidden("the request line is none that may be sent here")
    fields = _fields(rest)
    kind, path = _asked(found[1])
    query = _query(kind, found[2] or "")
    return Question(
        kind=kind,
        target=f"{path}?{urlencode(query)}" if query else path,
        keeps=fields.get("connection", "").lower() != "close",
    )


def _fields(lines: list[str]) -> Mapping[str, str]:
    """Read header fields, each once."""
    fields: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        name = found[1].lower() if found else ""
        if not found or name not in _FIELDS:
            raise Forbidden("a header field is none that may be sent here")
        if name in fields:
            raise Forbidden(f"{name} is said twice")
        fields[name] = found[2].strip(" \t")
    if "host" not in fields:
        raise Forbidden("Host is missing")
    if fields.get("connection", "close").lower() not in _CONNECTION:
        raise Forbidden("Connection may be close or keep-alive")
    return fields


def _asked(path: str) -> tuple[Kind, str]:
    """Find what a path asks for; returns it written anew."""
    for kind, pattern in _PATHS.items():
        if found := pattern.fullmatch(path):
            return kind, found[0]
    raise Forbidden("only questions that the agent asks are answered here")


def _query(kind: Kind, text: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=4)
    except ValueError as error:
        raise Forbidden("the query can't be read") from error
    query = dict(pairs)
    if len(query) < len(pairs) or not query.keys() <= _KEYS.get(kind, frozenset()):
        raise Forbidden("a key of the query is none that may be sent here, or comes twice")
    for key, value in query.items():
        _check(key, value)
    return query | ({"filters": _EVENTS} if kind is Kind.EVENTS else {})


def _check(key: str, value: str) -> None:
    fits = value == "1" if key == "all" else bool(_SINCE.fullmatch(value))
    if key != "filters" and not fits:
        raise Forbidden(f"{key} has a value that may not be sent here")
