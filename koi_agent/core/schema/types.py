"""The types that published properties have."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from koi_agent.core.schema.tables import Schema, Type

EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, written as Z
LATEST: Final = 253_402_300_799_999_999
"""Microseconds from the epoch to the end of the year 9999, the last that RFC 3339 can express."""


def rfc3339(microseconds: int) -> str | None:
    """Format microseconds since the epoch by RFC 3339, in UTC; ``None`` for 0 or out of range."""
    if not 0 < microseconds <= LATEST:
        return None
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds") + "Z"


def enumeration(words: Iterable[StrEnum]) -> Type:
    """Return the type of an enumeration; clients pass on a word that a newer agent adds."""
    return Type("s", str, {"type": "string", "enum": [str(word) for word in words]})


def _text(value: str) -> str:
    """Replace what a D-Bus string cannot hold (NUL, lone surrogates), as marshalling does."""
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()


def _text_or_null(value: str) -> str | None:
    return _text(value) or None


def _number_or_null(value: int) -> int | None:
    return value or None


def _hexadecimal(value: bytes) -> str | None:
    return value.hex() or None


def _texts(value: list[Any]) -> list[str]:
    return [_text(text) for text in value if isinstance(text, str)]


def _pairs(value: dict[str, Any]) -> dict[str, str]:
    return {_text(name): _text(text) for name, text in value.items() if isinstance(text, str)}


_NUMBER: Final[Schema] = {"type": "integer", "minimum": 0}
_TEXTS: Final[Schema] = {"type": "array", "items": {"type": "string"}}
_PAIRS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}

TEXT: Final = Type("s", str, {"type": "string"}, _text)
TEXT_OR_NULL: Final = Type("s", str, {"type": ["string", "null"]}, _text_or_null)
TEXTS: Final = Type("as", list, _TEXTS, _texts)
PAIRS: Final = Type("a{ss}", dict, _PAIRS, _pairs)
OBJECT_PATHS: Final = Type("ao", list, _TEXTS, _texts)
BOOLEAN: Final = Type("b", bool, {"type": "boolean"})
PORT_NUMBER: Final = Type("q", int, {**_NUMBER, "maximum": 65535})
NUMBER: Final = Type("u", int, _NUMBER)
NUMBER_OR_NULL: Final = Type("u", int, {"type": ["integer", "null"], "minimum": 1}, _number_or_null)
LONG_NUMBER: Final = Type("t", int, _NUMBER)
# Microseconds since the epoch on D-Bus, where 0 means not known.
TIME: Final = Type("t", int, {"type": ["string", "null"], "format": "date-time"}, rfc3339)
# Bytes on D-Bus, hexadecimal digits in JSON, as sd_id128_to_string() writes them.
ID: Final = Type("ay", bytes, {"type": ["string", "null"]}, _hexadecimal)
