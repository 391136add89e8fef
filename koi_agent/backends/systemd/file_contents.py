"""Reads files that any user may have created: regular files only, up to a limit of size."""

import errno
import os
import stat
from collections.abc import Iterable
from typing import Final

from koi_agent.core.errors import BadInput

MAX_SIZE: Final = 64 * 1024
"""Bytes of one file; a larger one is not read."""

_NULL_DEVICE = os.makedev(1, 3)


def read_file(path: str, status: os.stat_result) -> tuple[bytes, os.stat_result]:
    """Read a regular file whole; /dev/null, which masks a unit, is empty.

    ``status`` is that of the path. It is checked before the file is opened, because opening a
    device may have effects, and that of the open file is checked again and returned, because
    the path may name another file by then. Raises ``BadInput`` or ``OSError``.
    """
    if _is_readable(status):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123  # a descriptor
            status = os.fstat(descriptor)
            if _is_readable(status):
                return _joined(iter(lambda: file.read(MAX_SIZE + 1), b"")), status
    return b"", status


def _is_readable(status: os.stat_result) -> bool:
    """Return False for the null device; raises ``BadInput`` for what must not be read."""
    if stat.S_ISREG(status.st_mode):
        if status.st_size > MAX_SIZE:
            raise _too_large()
        return True
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE:
        return False
    raise BadInput("not a regular file")


def _joined(chunks: Iterable[bytes | None]) -> bytes:
    """Join chunks up to the limit: files in /proc have no size, and others may grow."""
    data = b""
    for chunk in chunks:
        if chunk is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        data += chunk
        if len(data) > MAX_SIZE:
            raise _too_large()
    return data


def _too_large() -> BadInput:
    return BadInput(f"larger than {MAX_SIZE // 1024} KiB")
