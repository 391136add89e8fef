"""Parses netlink messages (netlink(7)); the modules that use netlink share this."""

import errno
import os
import struct
from collections.abc import Iterator
from typing import Final

REQUEST_DUMP: Final = 0x301
"""Flags of a request for a dump: NLM_F_REQUEST and NLM_F_DUMP."""
ERROR: Final = 2
DONE: Final = 3
"""Message types that end a dump."""

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_NESTED: Final = 0x8000  # a flag in an attribute's type


def messages(data: bytes, sequence: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, flags and payload of the messages in a part of a dump.

    Messages with another sequence number are skipped. Raises ``OSError`` for a malformed one.
    """
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, flags, number, _ = HEADER.unpack_from(data, at)
        if not HEADER.size <= length <= len(data) - at:
            raise OSError(errno.EBADMSG, "netlink: message with a wrong length")
        if number == sequence:
            yield kind, flags, data[at + HEADER.size : at + length]
        at += aligned(length)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of attributes, up to the first malformed one."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & ~_NESTED, data[at + _ATTRIBUTE.size : at + length]
        at += aligned(length)


def aligned(length: int) -> int:
    """Return a length rounded up to the alignment of messages and attributes, 4 bytes."""
    return (length + 3) & ~3


def raise_error(payload: bytes) -> None:
    """Raise the error of an NLMSG_ERROR or NLMSG_DONE payload, if it has one: a negative errno."""
    number = -_ERRNO.unpack_from(payload)[0] if len(payload) >= _ERRNO.size else 0
    if number > 0:
        raise OSError(number, f"netlink: {os.strerror(number)}")
