"""Waits for a socket to appear, or to be another, by the kernel's word and without polling.

A path is watched at every folder on the way to it that is there: one that appears, goes, is
replaced or gets other permissions wakes us up, and then a look tells whether it matters.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from koi_agent.host import inotify
from koi_agent.host.inotify import Inotify

log = logging.getLogger(__name__)

State = tuple[tuple[int, ...], ...]

_FOLDER: Final = (
    inotify.CREATE
    | inotify.DELETE
    | inotify.MOVED_FROM
    | inotify.MOVED_TO
    | inotify.ATTRIB
    | inotify.DELETE_SELF
    | inotify.MOVE_SELF
)
_MOST_LINKS: Final = 8


def state(paths: Sequence[str]) -> State:
    """Tell what there is at some paths now, to be compared only."""
    return tuple(_status(place) for path in paths for place in _way(path))


async def arrival(paths: Sequence[str], since: State) -> None:
    """Wait until ``state(paths)`` is not ``since``; for ever where nothing can be watched."""
    try:
        watches = Inotify()
    except OSError as error:
        log.warning("sockets that appear are found by trying only: inotify: %s", error)
        await asyncio.Event().wait()
        return
    with watches:
        while _watched(watches, paths) == since:
            await watches.readable()
            while watches.read():
                pass


def _watched(watches: Inotify, paths: Sequence[str]) -> State:
    """Watch what can be watched on the way to some paths, and only then look."""
    for path in paths:
        for place in _way(path):
            try:
                watches.add(place, _FOLDER)
            except OSError:
                continue  # not there, or not for us: the folder above tells of a change
    return state(paths)


def _way(path: str) -> Iterator[str]:
    """Yield the folders on the way to a path but the root, then the path; of links both ends."""
    links = 0
    waiting = [*reversed(PurePosixPath(path).parts[1:])]
    at = "/"
    while waiting:
        name = waiting.pop()
        if name == "..":
            at = os.path.dirname(at)  # noqa: PTH120 - a text, and there are thousands
            continue
        here = os.path.join(at, name)  # noqa: PTH118 - as above
        yield here
        target = _target(here) if links < _MOST_LINKS else ""
        if target:
            links += 1
            parts = PurePosixPath(target).parts
            if target.startswith("/"):
                at, parts = "/", parts[1:]
            waiting += reversed(parts)
        else:
            at = here


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - a text is wanted
    except OSError:
        return ""


def _status(path: str) -> tuple[int, ...]:
    """Tell what decides about a connection; of a folder, not what else is in it."""
    try:
        status = os.lstat(path)
    except OSError as error:
        return (error.errno or 0,)
    fixed = status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_gid
    # A new socket may well get the number of the old one. A folder's time is that of its content.
    return fixed if stat.S_ISDIR(status.st_mode) else (*fixed, status.st_ctime_ns)
