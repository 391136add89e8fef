"""Waits until a socket or a file appears or changes, by inotify instead of polling.

Every directory on the way to a path is watched, as far as it exists: anything in it that is
created, deleted, renamed or gets other permissions wakes the agent up, which then compares. A file
is watched for writes, too: some programs write it in place.
"""

import logging
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from koi_agent.host import inotify
from koi_agent.host.inotify import Inotify

log = logging.getLogger(__name__)

PathStates = tuple[tuple[int, ...], ...]
"""The states of several paths on which a connection or a file depends; only compared."""

_DIRECTORY_EVENTS: Final = (
    inotify.CREATE
    | inotify.DELETE
    | inotify.MOVED_FROM
    | inotify.MOVED_TO
    | inotify.ATTRIB
    | inotify.DELETE_SELF
    | inotify.MOVE_SELF
)
_FILE_EVENTS: Final = _DIRECTORY_EVENTS | inotify.MODIFY
"""For a directory, these would include each write to any file in it."""
_MAX_LINKS: Final = 8


def path_states(paths: Sequence[str]) -> PathStates:
    """Return the present states of all paths and of the directories that lead to them."""
    return tuple(_status(part) for path in paths for part in _parts(path))


async def wait_for_change(paths: Sequence[str], since: PathStates) -> None:
    """Wait until ``path_states`` is not ``since``, or forever if nothing can be watched."""
    try:
        watches = Inotify()
    except OSError as error:
        import asyncio  # noqa: PLC0415 - the hook does without

        log.warning("inotify: %s; sockets that appear are only found by trying", error)
        await asyncio.Event().wait()
        return
    with watches:
        while watch(watches, paths) == since:
            await watches.readable()
            while watches.read():
                pass


def watch(watches: Inotify, paths: Sequence[str]) -> PathStates:
    """Watch all that exists of some paths, and then return their states: no change is missed."""
    for path in paths:
        for part in _parts(path):
            is_directory = os.path.isdir(part)  # noqa: PTH112 - thousands of plain texts
            try:
                watches.add(part, _DIRECTORY_EVENTS if is_directory else _FILE_EVENTS)
            except OSError:
                continue  # missing or not accessible: the directory above shows a change
    return path_states(paths)


def _parts(path: str) -> Iterator[str]:
    """Yield the directories that lead to a path, without the root, and the path.

    For a symbolic link, both the link and its target are yielded.
    """
    links = 0
    waiting = [*reversed(PurePosixPath(path).parts[1:])]
    directory = "/"
    while waiting:
        name = waiting.pop()
        if name == "..":
            directory = os.path.dirname(directory)  # noqa: PTH120 - thousands of plain texts
            continue
        part = os.path.join(directory, name)  # noqa: PTH118 - as above
        yield part
        target = _target(part) if links < _MAX_LINKS else ""
        if target:
            links += 1
            parts = PurePosixPath(target).parts
            if target.startswith("/"):
                directory, parts = "/", parts[1:]
            waiting += reversed(parts)
        else:
            directory = part


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - plain text is needed
    except OSError:
        return ""


def _status(path: str) -> tuple[int, ...]:
    """Return what decides about a connection, or a file; the content of a directory does not."""
    try:
        status = os.lstat(path)
    except OSError as error:
        return (error.errno or 0,)
    fixed = status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_gid
    # A new socket may have the inode number of the old one, so its ctime counts. The ctime of a
    # directory changes with its content. Two writes within a tick of the kernel have the same one.
    written = status.st_ctime_ns, status.st_size
    return fixed if stat.S_ISDIR(status.st_mode) else (*fixed, *written)
