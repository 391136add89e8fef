"""Requests to the fake Koi daemon, its responses, and its strict reading of JSON bodies."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

Json = dict[str, Any]
MEDIA_TYPE: Final = "application/json"
MOST_BODY: Final = 2 * 1024 * 1024
"""The most bytes that the body of a request may have."""


class Request(NamedTuple):
    """A request as it arrived. Names of ``fields`` are in lower case."""

    method: str
    path: str
    fields: Mapping[str, str]
    body: bytes

    @property
    def place(self) -> tuple[str, str]:
        return self.method, self.path

    def json(self) -> Any:
        return json.loads(self.body or b"null")


class Answer(NamedTuple):
    """A response; ``kind`` is its content type."""

    status: int
    body: bytes = b""
    kind: str = MEDIA_TYPE

    def json(self) -> Any:
        return json.loads(self.body)


class Refused(Exception):
    """A request that the daemon refuses, in its usual form."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.answer = document({"error": code, "message": text}, status)


class Unread(Exception):
    """A request that the daemon can't read. The response is plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer = plain(text, status)


def document(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value, separators=(",", ":")).encode())


def plain(text: str, status: int = 200) -> Answer:
    return Answer(status, text.encode(), "text/plain; charset=utf-8")


def unsigned(bits: int) -> Callable[[Any], bool]:
    """Return a check for unsigned integers of so many bits."""
    return lambda value: type(value) is int and 0 <= value < 1 << bits


def text(value: Any) -> bool:
    return isinstance(value, str)


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a check that also accepts null."""
    return lambda value: value is None or check(value)


class Field(NamedTuple):
    """A field of a body. It is required unless it ``has_default``."""

    is_valid: Callable[[Any], bool]
    has_default: bool = False
    default: Any = None


def read(request: Request, known: Mapping[str, Field]) -> Json:
    """Return the fields of a body, with defaults; other fields are ignored."""
    sent = _parsed(request)
    if not isinstance(sent, dict):
        raise _unfit("invalid type")
    found: Json = {}
    for name, one in known.items():
        if name not in sent and not one.has_default:
            raise _unfit(f"missing field `{name}`")
        found[name] = sent.get(name, one.default)
        if not one.is_valid(found[name]):
            raise _unfit(f"{name}: invalid type")
    return found


def _parsed(request: Request) -> Any:
    if request.fields.get("content-type", "").partition(";")[0].strip() != MEDIA_TYPE:
        raise Unread(415, f"Expected request with `Content-Type: {MEDIA_TYPE}`")
    if len(request.body) > MOST_BODY:
        raise Unread(413, "Failed to buffer the request body: length limit exceeded")
    try:
        sent = json.loads(request.body)
        json.dumps(sent, ensure_ascii=False).encode()  # fails with lone surrogates
    except (ValueError, RecursionError) as error:
        raise Unread(400, f"Failed to parse the request body as JSON: {error}") from None
    return sent


def _unfit(reason: str) -> Unread:
    return Unread(422, f"Failed to deserialize the JSON body into the target type: {reason}")
