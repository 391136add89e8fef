"""What is in a file that anybody may have put there: never a device, never more than a bound."""

import errno
import os
import stat
from collections.abc import Iterable
from typing import Final

from koi_agent.core.errors import BadInput

LARGEST: Final = 64 * 1024
"""Bytes of one file; a larger one is not read."""

_NULL_DEVICE = os.makedev(1, 3)


def content(path: str, status: os.stat_result) -> tuple[bytes, os.stat_result]:
    """Read a regular file, whole; the null device, a mask, reads as empty.

    It is looked at before it is opened, for opening a device may do something, and after,
    for it may be another by then. Raises ``BadInput`` or ``OSError``.
    """
    if _is_readable(status):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123  # a descriptor
            status = os.fstat(descriptor)
            if _is_readable(status):
                return _bounded(iter(lambda: file.read(LARGEST + 1), b"")), status
    return b"", status


def _is_readable(status: os.stat_result) -> bool:
    if stat.S_ISREG(status.st_mode):
        if status.st_size > LARGEST:
            raise _too_large()
        return True
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE:
        return False
    raise BadInput("is not a regular file")


def _bounded(chunks: Iterable[bytes | None]) -> bytes:
    """Collect what is read; a file of /proc or a growing one may be more than its size."""
    data = b""
    for chunk in chunks:
        if chunk is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        data += chunk
        if len(data) > LARGEST:
            raise _too_large()
    return data


def _too_large() -> BadInput:
    return BadInput(f"is larger than {LARGEST // 1024} KiB")
