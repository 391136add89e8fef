"""Typed getters for decoded JSON of an engine.

A field of another type counts as absent: a newer engine must not cost more than the field that it
changed. Only a missing field that a record needs raises ``BadInput``.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final

from koi_agent.core.errors import BadInput

JSONObject = Mapping[str, Any]

_EMPTY: Final[JSONObject] = {}
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII
)
_ID: Final = re.compile("[A-Za-z0-9_.-]{1,128}")


def as_object(value: object) -> JSONObject:
    """Return ``value`` if it is a JSON object; raise ``BadInput`` otherwise."""
    if not isinstance(value, dict):
        raise BadInput(f"not a JSON object: {type(value).__name__}")
    return value


def get_object(record: JSONObject, key: str) -> JSONObject:
    """Return the object in a field, or an empty one."""
    value = record.get(key)
    return value if isinstance(value, dict) else _EMPTY


def get_objects(record: JSONObject, key: str) -> Iterator[JSONObject]:
    """Yield the objects of a list; other elements are skipped."""
    value = record.get(key)
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def get_str(record: JSONObject, key: str) -> str:
    """Return the text in a field, or ``""``."""
    value = record.get(key)
    return value if isinstance(value, str) else ""


def get_strs(record: JSONObject, key: str) -> Iterator[str]:
    """Yield the texts of a list; other elements are skipped."""
    value = record.get(key)
    for item in value if isinstance(value, list) else ():
        if isinstance(item, str):
            yield item


def get_int(record: JSONObject, key: str, limit: int = 2**63) -> int:
    """Return an integer from 0 up to, but not including, ``limit``; anything else is 0."""
    value = record.get(key)
    # bool is a subclass of int, and true is not a number.
    return value if type(value) is int and 0 <= value < limit else 0


def get_time(record: JSONObject, key: str) -> int:
    """Return an RFC 3339 time as whole seconds since the epoch, or 0."""
    found = _RFC3339.fullmatch(get_str(record, key))
    with suppress(ValueError, OverflowError):
        return max(int(datetime.fromisoformat(found[1] + found[2]).timestamp()), 0) if found else 0
    return 0


def nanoseconds(text: str) -> int:
    """Parse an RFC 3339 time as nanoseconds since the epoch; return 0 for anything else."""
    found = _RFC3339.fullmatch(text)
    if not found:
        return 0
    fraction = text.removeprefix(found[1]).removesuffix(found[2]).removeprefix(".")
    seconds = get_time({"time": found[1] + found[2]}, "time")
    return seconds * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def get_id(record: JSONObject, key: str) -> str:
    """Return an id that is safe in a request's path; raise ``BadInput`` for anything else."""
    value = record.get(key)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise BadInput(f"{key}: not an id")
    return value


def get_ip(record: JSONObject, key: str) -> str:
    """Return an IPv4 or IPv6 address as it is written, or ``""``."""
    value = get_str(record, key)
    if not value:
        return ""
    try:
        inet_pton(AF_INET6 if ":" in value else AF_INET, value)
    except (OSError, ValueError):
        return ""
    return value
