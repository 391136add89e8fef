"""Foreign JSON read by typed getters: what is of another type is as good as not there."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final

from koi_agent.core.errors import BadInput

Answer = Mapping[str, Any]

_NOTHING: Final[Answer] = {}
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_ID: Final = re.compile("[A-Za-z0-9_.-]{1,128}")


def answer(value: object) -> Answer:
    """Take a whole answer, which must be an object; raises ``BadInput``."""
    if not isinstance(value, dict):
        raise BadInput(f"it is a {type(value).__name__}, no object")
    return value


def inner(said: Answer, key: str) -> Answer:
    value = said.get(key)
    return value if isinstance(value, dict) else _NOTHING


def objects(said: Answer, key: str) -> Iterator[Answer]:
    """Yield the objects of a list."""
    value = said.get(key)
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def texts(said: Answer, key: str) -> Iterator[str]:
    value = said.get(key)
    for item in value if isinstance(value, list) else ():
        if isinstance(item, str):
            yield item


def text(said: Answer, key: str) -> str:
    value = said.get(key)
    return value if isinstance(value, str) else ""


def number(said: Answer, key: str, most: int = 2**63) -> int:
    """Read a number from 0 up to ``most``, exclusive; anything else is 0."""
    value = said.get(key)
    return value if type(value) is int and 0 <= value < most else 0


def seconds(said: Answer, key: str) -> int:
    """Read a time of RFC 3339 as whole seconds since the epoch; what can't be read is 0."""
    found = _TIME.fullmatch(text(said, key))
    with suppress(ValueError, OverflowError):
        return max(int(datetime.fromisoformat(found[1] + found[2]).timestamp()), 0) if found else 0
    return 0


def container_id(said: Answer, key: str) -> str:
    """Read an id, which goes into paths of the API; raises ``BadInput``."""
    value = said.get(key)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise BadInput("it has no id that could be a container's")
    return value


def address(said: Answer, key: str) -> str:
    """Read an IP address."""
    value = text(said, key)
    if not value:
        return ""
    try:
        inet_pton(AF_INET6 if ":" in value else AF_INET, value)
    except (OSError, ValueError):
        return ""
    return value
