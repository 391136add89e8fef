"""How the kernel's netlink messages are taken apart (netlink(7)): for each door that speaks it."""

import errno
import os
import struct
from collections.abc import Iterator
from typing import Final

REQUEST_DUMP: Final = 0x301
"""Flags of a request for everything: NLM_F_REQUEST and NLM_F_DUMP."""
ERROR: Final = 2
DONE: Final = 3
"""Kinds of messages that end a dump."""

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_NESTED: Final = 0x8000  # a flag on an attribute's kind


def messages(data: bytes, sequence: int) -> Iterator[tuple[int, int, bytes]]:
    """Take apart one part of a dump: kind, flags and payload; other sequences are skipped."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, flags, answered, _ = HEADER.unpack_from(data, at)
        if not HEADER.size <= length <= len(data) - at:
            raise OSError(errno.EBADMSG, "netlink: a message of a wrong length")
        if answered == sequence:
            yield kind, flags, data[at + HEADER.size : at + length]
        at += aligned(length)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & ~_NESTED, data[at + _ATTRIBUTE.size : at + length]
        at += aligned(length)


def aligned(length: int) -> int:
    return (length + 3) & ~3


def raise_error(payload: bytes) -> None:
    """Raise what the kernel says went wrong; it counts errors downwards from zero."""
    number = -_ERRNO.unpack_from(payload)[0] if len(payload) >= _ERRNO.size else 0
    if number > 0:
        raise OSError(number, f"netlink: {os.strerror(number)}")
