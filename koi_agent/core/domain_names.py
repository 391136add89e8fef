"""DNS names as text: parsed as they are typed, and written in one form that can be compared."""

import re
from collections.abc import Iterator
from typing import Final

from koi_agent.core.errors import BadInput

Labels = tuple[bytes, ...]

LONGEST_LABEL: Final = 63
LONGEST: Final = 255
"""Bytes of a name in a message (RFC 1035 section 2.3.4)."""
_PART: Final = re.compile(r"\\([0-9]{3})|\\([^0-9])|(\.)|([^\\.]+)", re.DOTALL)
_PLAIN: Final = re.compile(rb"[a-z0-9_-]+")


def parse(text: str) -> Labels:
    r"""Return the labels of a name, with or without a final dot; raise ``BadInput``.

    ``\DDD`` is a byte and ``\.`` a dot inside a label (RFC 1035 section 5.1).
    """
    if text == ".":
        return ()
    labels, at = [bytearray()], 0
    for part in _PART.finditer(text):
        if part.start() != at:
            break
        at = part.end()
        if part[3]:
            labels.append(bytearray())
        else:
            labels[-1] += _bytes(part)
    if at != len(text):
        raise BadInput("a backslash in a DNS name escapes nothing")
    if not labels[-1]:
        labels.pop()
    return _checked(tuple(map(bytes, labels)))


def _bytes(part: re.Match[str]) -> bytes:
    """Return the bytes of one part of a label."""
    if part[1]:
        number = int(part[1])
        if number > 255:
            raise BadInput(f"\\{number} in a DNS name is not a byte")
        return bytes((number,))
    try:
        return (part[2] or part[4]).encode()
    except UnicodeEncodeError as error:
        raise BadInput("a DNS name is not valid text") from error


def _checked(labels: Labels) -> Labels:
    if not all(labels):
        raise BadInput("a DNS name has an empty label")
    if max(map(len, labels), default=0) > LONGEST_LABEL:
        raise BadInput(f"a label of a DNS name is longer than {LONGEST_LABEL} bytes")
    if len(wire(labels)) > LONGEST:
        raise BadInput(f"a DNS name is longer than {LONGEST} bytes")
    return labels


def wire(labels: Labels) -> bytes:
    """Return a name as it is in a message, without compression."""
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def canonical(labels: Labels) -> str:
    r"""Return a name in lower case and without a final dot, in ASCII.

    All bytes but letters, digits, ``-`` and ``_`` are written as ``\DDD``. So each dot is between
    two labels.
    """
    return ".".join(map(_canonical, labels))


def _canonical(label: bytes) -> str:
    lower = label.lower()
    if _PLAIN.fullmatch(lower):
        return lower.decode("ascii")
    return "".join(
        chr(byte) if _PLAIN.fullmatch(bytes((byte,))) else f"\\{byte:03}" for byte in lower
    )


def upwards(name: str) -> Iterator[str]:
    """Yield a canonical name and the names above it, except the root."""
    while name:
        yield name
        name = name.partition(".")[2]
