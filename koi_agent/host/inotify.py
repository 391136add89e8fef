"""Wraps inotify(7), which the standard library lacks, by calling the C library.

``ctypes`` is imported with the first instance, because it costs time and memory. ``asyncio`` is
imported by the method that needs it, because the hook does not use it.
"""

import os
import struct
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import ctypes

MODIFY: Final = 0x2
ATTRIB: Final = 0x4
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
MOVE_SELF: Final = 0x800
OVERFLOW: Final = 0x4000
"""The kernel dropped events; comes with watch -1."""
IGNORED: Final = 0x8000
"""The last event of a watch: it was removed, or the watched file is gone."""

_EVENT = struct.Struct("=iIII")
_BUFFER = 64 * 1024


class Inotify:
    """Watches on files and directories; closed when the context is left."""

    def __init__(self) -> None:
        """Open an instance without watches; raises ``OSError`` at the user's limit."""
        self._libc = _libc()
        self._descriptor = _checked(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there are events."""
        return self._descriptor

    async def readable(self) -> None:
        """Wait until there are events to read."""
        import asyncio  # noqa: PLC0415 - the hook does without

        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._descriptor)

    def add(self, path: str, mask: int) -> int:
        """Watch a path, or change the mask of its watch; returns the watch. Raises ``OSError``."""
        return _checked(
            self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask), path
        )

    def read(self) -> list[tuple[int, int, str]]:
        """Return events without waiting: watch, mask and the name within a watched directory."""
        try:
            data = os.read(self._descriptor, _BUFFER)
        except BlockingIOError:
            return []
        return events_from(data)

    def close(self) -> None:
        """Remove all watches; may be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def events_from(data: bytes) -> list[tuple[int, int, str]]:
    """Parse the events of one read; the kernel returns complete events only."""
    events: list[tuple[int, int, str]] = []
    at = 0
    while at + _EVENT.size <= len(data):
        watch, mask, _, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        events.append((watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
        at += length
    return events


def _libc() -> "ctypes.CDLL":
    import ctypes  # noqa: PLC0415  # only if files are watched

    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, path: str | None = None) -> int:
    import ctypes  # noqa: PLC0415  # imported by _libc

    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result
