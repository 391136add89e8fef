"""Readers of single values: booleans, ports, time spans, choices, paths.

A reader returns the parsed value or raises ``BadInput`` with a reason. Unit files use systemd's
booleans and time spans. All other metadata uses ``true``, ``false`` and whole seconds.
"""

import re
from collections.abc import Callable, Sequence

from koi_agent.core.errors import BadInput
from koi_agent.core.metadata.names import filled_text, shown

Reader = Callable[[str], object]

_PATH = re.compile(r"/[!-~]{0,1023}")
_LONGEST_SECONDS = 2**32 - 1

# The words of systemd's parse_boolean(), which ignores case.
_UNIT_BOOLEANS = dict.fromkeys(("1", "yes", "y", "true", "t", "on"), True) | dict.fromkeys(
    ("0", "no", "n", "false", "f", "off"), False
)
_GO_BOOLEANS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)

_MICROSECONDS = {
    unit: size
    for size, units in (
        (1, "usec us μs µs"),  # Greek mu and micro sign
        (1_000, "msec ms"),
        (1_000_000, "seconds second sec s"),
        (60_000_000, "minutes minute min m"),
        (3_600_000_000, "hours hour hr h"),
        (86_400_000_000, "days day d"),
        (604_800_000_000, "weeks week w"),
        (2_629_800_000_000, "months month M"),
        (31_557_600_000_000, "years year y"),
    )
    for unit in units.split()
}
_SPAN_PART = re.compile(r" *(?=\.?[0-9])([0-9]{0,12})(?:\.([0-9]+))?(?: *([A-Za-zμµ]+)|(?= |$))")


def boolean(value: str) -> bool:
    """Parse ``true`` or ``false`` in any case."""
    match filled_text(value).lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise BadInput(f"{shown(value)} is not a boolean; use true or false")


def unit_boolean(value: str) -> bool:
    """Parse a boolean as systemd does."""
    word = _UNIT_BOOLEANS.get(filled_text(value).lower())
    if word is None:
        raise BadInput(f"{shown(value)} is not a boolean; use yes or no")
    return word


def go_boolean(value: str) -> bool:
    """Parse a boolean as Go's ``strconv.ParseBool`` does, which Traefik uses."""
    if value not in _GO_BOOLEANS:
        raise BadInput(f"{shown(value)} is not a boolean of Go; use true or false")
    return _GO_BOOLEANS[value]


def port(value: str) -> int:
    """Parse a port number."""
    digits = filled_text(value)
    if not re.fullmatch("[0-9]{1,5}", digits) or not 1 <= int(digits) <= 65535:
        raise BadInput(f"{shown(value)} is not a port number; use 1 to 65535")
    return int(digits)


def seconds(value: str) -> int:
    """Parse a number of whole seconds."""
    digits = filled_text(value)
    if not re.fullmatch("[0-9]{1,12}", digits):
        raise BadInput(f"{shown(value)} is not a number of seconds; use a whole number from 1")
    return _bounded_seconds(int(digits), value)


def span(value: str) -> int:
    """Parse a systemd.time(7) time span as whole seconds; a number without a unit is seconds.

    A fraction of a second is rounded up, so that 500ms becomes 1 s and not zero.
    """
    return _bounded_seconds(-(-_span_microseconds(value) // 1_000_000), value)


def exact_span(value: str, least: int, most: int) -> float:
    """Parse a systemd.time(7) time span of ``least`` to ``most`` seconds; return seconds."""
    microseconds = _span_microseconds(value)
    if not least * 1_000_000 <= microseconds <= most * 1_000_000:
        raise BadInput(f"{shown(value)} is out of range; use {least} to {most} seconds")
    return microseconds / 1_000_000


def _span_microseconds(value: str) -> int:
    text = filled_text(value)
    microseconds = position = 0
    while position < len(text):
        part = _SPAN_PART.match(text, position)
        unit = _MICROSECONDS.get(part[3] or "s") if part else None
        if not part or not unit:
            raise BadInput(f"{shown(value)} is not a time span; write it like 30s or 1min 30s")
        fraction = int((part[2] or "")[:6].ljust(6, "0"))
        microseconds += int(part[1] or 0) * unit + fraction * unit // 1_000_000
        position = part.end()
    return microseconds


def _bounded_seconds(number: int, value: str) -> int:
    if not 1 <= number <= _LONGEST_SECONDS:
        raise BadInput(f"{shown(value)} is out of range; use 1 to {_LONGEST_SECONDS} seconds")
    return number


def health_kind(value: str) -> str:
    """Parse the kind of a health check."""
    return choice(value, ("http", "tcp"))


def scheme(value: str) -> str:
    """Parse the scheme of an HTTP check, or of the upstream of a proxy."""
    return choice(value, ("http", "https"))


def choice(value: str, known: Sequence[str]) -> str:
    """Parse one of the ``known`` words in any case; return it in lower case."""
    word = filled_text(value).lower()
    if word not in known:
        choices = f"{', '.join(known[:-1])} or {known[-1]}"
        raise BadInput(f"{shown(value)} is not a known value; use {choices}")
    return word


def path(value: str) -> str:
    """Accept a path that may stand in an HTTP request line (RFC 9112 section 3) as it is."""
    text = filled_text(value)
    if not _PATH.fullmatch(text):
        raise BadInput(
            f"{shown(value)} is not a path; it starts with / and has at most 1024 characters of"
            " ASCII without spaces"
        )
    return text
