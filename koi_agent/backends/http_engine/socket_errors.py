"""Finds out why an engine's Unix socket can't be used, and what an administrator can do.

An absent socket is ``BackendAbsent``: the engine may start later. Any other error is
``BackendLost``.
"""

import asyncio
import errno
import grp
import os
import pwd
import socket as sockets
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.core.frozen import frozen
from koi_agent.host.engines import SocketUnit, is_bound
from koi_agent.timeouts import timeout

_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})
CONNECT_TIMEOUT: Final = 10.0
"""Seconds that a connection to a socket may take."""
RETRY: Final = 0.1
"""Seconds until a socket whose queue is full is tried again."""


@frozen()
class UnixSocket:
    """An engine's socket.

    ``gate_unit`` is the path unit of the gate through which the agent can read there, or "".
    ``unit`` is the socket unit that makes the socket, or ``None`` if that is not known.
    """

    path: str
    gate_unit: str = ""
    unit: SocketUnit | None = None

    def __str__(self) -> str:
        return self.path


class NothingBehindGate(BackendAbsent):
    """The gate answers, but has no engine behind it."""


async def check_listening(socket: UnixSocket) -> None:
    """Connect to a socket once; raise ``BackendLost`` or ``BackendAbsent`` if that fails."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            async with timeout(CONNECT_TIMEOUT):
                await _connect(probe, socket.path)
        except TimeoutError as error:
            raise BackendLost(f"{socket}: no connection in time") from error
        except OSError as error:
            raise backend_error(socket, error) from error


async def _connect(probe: sockets.socket, path: str) -> None:
    """Connect to a path, as soon as the queue there is not full; raises ``OSError``.

    The event loop's ``sock_connect`` mistakes a full queue for a connection.
    """
    while True:
        try:
            probe.connect(path)
        except BlockingIOError:
            await asyncio.sleep(RETRY)
        else:
            return


def backend_error(socket: UnixSocket, error: OSError) -> BackendLost:
    """Return what a failed connection means for the backend, with a text for the administrator."""
    is_absent = error.errno in _ABSENT or (bool(socket.gate_unit) and is_hidden(socket.path, error))
    return (BackendAbsent if is_absent else BackendLost)(describe(socket, error))


def describe(socket: UnixSocket, error: OSError) -> str:
    """Return a text with the socket, the problem and, where there is one, the repair."""
    if error.errno in _ABSENT or (is_hidden(socket.path, error) and not is_bound(socket.path)):
        return (socket.unit and socket.unit.advice()) or f"{socket}: no such socket"
    if error.errno in _DENIED:
        return _describe_denial(socket)
    if error.errno == errno.ECONNREFUSED:
        is_socket = _is_socket(socket.path)
        return (
            f"{socket}: nothing listens on this socket" if is_socket else f"{socket}: not a socket"
        )
    return f"{socket}: {os.strerror(error.errno or 0)}"


def is_hidden(path: str, error: OSError) -> bool:
    """Return True if a closed folder hides whether there is a socket."""
    if error.errno not in _DENIED:
        return False
    _, status = _denied_at(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except OSError:
        return True


def _describe_denial(socket: UnixSocket) -> str:
    """Return the file that denies access, with its owner, group and mode, and how to get access."""
    file, status = _denied_at(socket.path)
    if status is None:
        return f"{socket}: permission denied"
    is_folder = stat.S_ISDIR(status.st_mode)
    place = f"on the folder {file} " if is_folder else ""
    text = f"{socket}: permission denied {place}({_owner_and_mode(status)})"
    if unit := socket.gate_unit:
        command = f"systemctl unmask {unit} && systemctl start {unit}"
        return f"{text}; to let the agent read through a gate, run: {command}"
    group = _group(status.st_gid)
    if is_folder or group == "root" or not status.st_mode & stat.S_IWGRP:
        return text
    return (
        f"{text}; to give access, set SupplementaryGroups={group} in a drop-in:"
        " a member of this group can become root"
    )


def _denied_at(path: str) -> tuple[str, os.stat_result | None]:
    """Return the first folder of the path that may not be entered, or else the socket."""
    for place in _folders_and_path(path):
        try:
            status = Path(place).stat()
        except OSError:
            break
        if not stat.S_ISDIR(status.st_mode) or not os.access(place, os.X_OK):
            return place, status
    return path, None


def _folders_and_path(path: str) -> Iterator[str]:
    """Yield the folders above a path, outermost first, and the path."""
    pure = PurePosixPath(os.path.realpath(path))
    yield from (str(folder) for folder in reversed(pure.parents))
    yield str(pure)


def _owner_and_mode(status: os.stat_result) -> str:
    mode = stat.S_IMODE(status.st_mode)
    return f"{_user(status.st_uid)}:{_group(status.st_gid)} {mode:04o}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
