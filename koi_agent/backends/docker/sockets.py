"""Where an engine's socket may be, and what to say of one that can't be used.

What the configuration says comes first and alone; then the variables that the engines' own
commands heed, then the gate before an engine, then the usual places. Podman may also answer where
Docker would, as its package ``podman-docker`` arranges.
"""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from koi_agent.host.engines import SOCKETS, gate_socket

_VARIABLES: Final = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}
_UNIX: Final = "unix://"


def candidates(
    backend: str, wished: str, scope: str, environment: Mapping[str, str]
) -> tuple[str, ...]:
    """Name the sockets to try, in order; ``wished`` is the configuration's, or empty.

    An agent of a user does not look at the system's engines unless it is told to.
    """
    if wished:
        return (wished.removeprefix(_UNIX),)
    found = _usual(backend, scope, environment)
    if backend == "podman":
        found = [*found, *_usual("docker", scope, environment)]
    return tuple(dict.fromkeys(found))


def _usual(backend: str, scope: str, environment: Mapping[str, str]) -> list[str]:
    host = environment.get(_VARIABLES[backend], "")
    found = [host.removeprefix(_UNIX)] if host.startswith(f"{_UNIX}/") else []
    if scope == "system":
        return [*found, gate_socket(backend), SOCKETS[backend]]
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    own = "docker.sock" if backend == "docker" else "podman/podman.sock"
    return [*found, f"{runtime}/{own}"] if runtime.startswith("/") else found


def stand_ins(backend: str, scope: str, environment: Mapping[str, str]) -> frozenset[str]:
    """Name the places of another engine's, of which its own backend tells if they are closed."""
    if backend == "docker":
        return frozenset()
    own = _usual(backend, scope, environment)
    return frozenset(_usual("docker", scope, environment)) - frozenset(own)


def foreign_host(backend: str, environment: Mapping[str, str]) -> str:
    """Say why there is no socket to try."""
    variable = _VARIABLES[backend]
    if environment.get(variable, ""):
        return f"{variable} names no socket of this host, and others are not followed"
    return "there is no place for a socket: XDG_RUNTIME_DIR is not set"


def trouble(path: str, error: OSError, gate: str = "") -> str:
    """Say why a socket can't be used, and what to do: ``gate`` is the unit that may help."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return f"there is no {path}"
        case errno.ECONNREFUSED if _is_socket(path):
            return f"nobody listens on {path}"
        case errno.ECONNREFUSED:
            return f"{path} is no socket"
        case errno.EACCES | errno.EPERM:
            return _refusal(path, gate)
        case _:
            return f"{path}: {os.strerror(error.errno or 0)}"


def is_hidden(path: str, error: OSError) -> bool:
    """Tell whether nobody can say if there is a socket, as its folder is closed to us."""
    if error.errno not in (errno.EACCES, errno.EPERM):
        return False
    _place, status = _refused_at(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except OSError:
        return True


def _refusal(path: str, gate: str) -> str:
    """Name who refuses, and how to be let in: by a gate, where there may be one."""
    place, status = _refused_at(path)
    if status is None:
        return f"permission denied on {path}"
    folder = "the folder " if stat.S_ISDIR(status.st_mode) else ""
    said = f"permission denied on {folder}{place} ({_owned(status)})"
    if gate:
        opening = f"systemctl unmask {gate} && systemctl start {gate}"
        return f"{said}; a gate lets the agent read there: {opening}"
    group = _group(status.st_gid)
    if folder or group == "root" or not status.st_mode & stat.S_IWGRP:
        return said
    return (
        f"{said}: membership in group {group}"
        f" would do, in a drop-in with SupplementaryGroups={group}; it is as good as root"
    )


def _refused_at(path: str) -> tuple[str, os.stat_result | None]:
    """Find who refuses: a folder on the way that we may not enter, or else the socket itself."""
    for place in _way(path):
        try:
            status = Path(place).stat()
        except OSError:
            break
        if not stat.S_ISDIR(status.st_mode) or not os.access(place, os.X_OK):
            return place, status
    return path, None


def _way(path: str) -> Iterator[str]:
    """Yield the folders to a path, outermost first, and the path."""
    pure = PurePosixPath(os.path.realpath(path))
    yield from (str(folder) for folder in reversed(pure.parents))
    yield str(pure)


def _owned(status: os.stat_result) -> str:
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
