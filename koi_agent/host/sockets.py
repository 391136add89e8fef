"""The sockets that we serve on: passed by systemd, or else made by ourselves.

systemd's stay systemd's: it keeps them while we are not there, so that no request is refused,
and nothing here removes one. Ours are for a daemon that was started by hand.
"""

import errno
import fcntl
import logging
import os
import socket
import stat
import struct
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from koi_agent.core.errors import ConfigError, KoiError
from koi_agent.core.text import printable

log = logging.getLogger(__name__)

_VARIABLES: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_LISTENED_ON: Final = (0, errno.EAGAIN, errno.EPROTOTYPE)
"""What connect() says of a socket that is in use: welcome, too many wait, of another kind."""
_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred: process, user, group


class NoSocket(KoiError):
    """There is no socket to serve on: it is somebody else's, or the kernel refuses one."""


def passed(
    environment: MutableMapping[str, str], names: Collection[str]
) -> dict[str, list[socket.socket]]:
    """Take what systemd passed to this process: by name, sockets that listen and don't block.

    ``environment`` is the process's own; the variables of sd_listen_fds(3) are taken out. What
    has a FileDescriptorName= not in ``names`` is closed and warned of. Raises ``ConfigError``
    where a descriptor can't be served on: the socket unit is wrong.
    """
    ours = environment.get("LISTEN_PID") == str(os.getpid()) and "LISTEN_FDS" in environment
    try:
        descriptors = _descriptors() if ours else {}
    finally:
        for variable in _VARIABLES:
            environment.pop(variable, None)
    found: dict[str, list[socket.socket]] = {}
    with ExitStack() as opened:
        for descriptor, name in descriptors.items():
            if name in names:
                listener = opened.enter_context(_listener(descriptor, name))
                found.setdefault(name, []).append(listener)
            else:
                _close_unknown(descriptor, name, names)
        opened.pop_all()
    return found


def _descriptors() -> dict[int, str]:
    from systemd.daemon import (  # type: ignore[import-untyped]  # noqa: PLC0415
        listen_fds_with_names,  # loads libsystemd, which an agent started by hand need not
    )

    try:
        return dict(listen_fds_with_names(unset_environment=True))
    except OSError as error:
        raise ConfigError(f"LISTEN_FDS, LISTEN_FDNAMES: {error.strerror}") from error


def _close_unknown(descriptor: int, name: str, names: Collection[str]) -> None:
    log.warning(
        "systemd passed descriptor %d named %s, which is none of %s: closed"
        " (FileDescriptorName= of the socket unit says what it is for)",
        descriptor,
        printable(name, 255),
        ", ".join(names),
    )
    os.close(descriptor)


def _listener(descriptor: int, name: str) -> socket.socket:
    what = f"systemd passed descriptor {descriptor} named {name}"
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"{what}, which is no socket: {error.strerror}") from error
    listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listens or listener.type != socket.SOCK_STREAM:
        listener.close()
        raise ConfigError(
            f"{what}, which is no stream socket that listens"
            " (the socket unit needs ListenStream= and Accept=no)"
        )
    listener.settimeout(0)
    return listener


def http_path(scope: str, environment: Mapping[str, str]) -> Path:
    """Tell where HTTP is served for the ``system`` or a ``user``; raises ``ConfigError``."""
    if scope == "system":
        return Path("/run/koi-runtime/http.sock")
    folder = environment.get("XDG_RUNTIME_DIR", "")
    if not folder.startswith("/"):  # others are to be ignored, by the XDG specification
        raise ConfigError("no place for the HTTP socket: XDG_RUNTIME_DIR is not set")
    return Path(folder, "koi-runtime/http.sock")


@contextmanager
def own_unix(path: Path, *, mode: int) -> Iterator[socket.socket]:
    """Listen at a path with these rights, until left; its folder is made where it is missing.

    A dead process's socket is replaced. Raises ``NoSocket`` where a living one listens, where
    the path is no socket, and where the kernel refuses. On leaving, the path is removed if it
    is still ours.
    """
    with ExitStack() as opened:
        try:
            listener = _bound(path, mode, opened)
        except OSError as error:
            raise NoSocket(f"can't listen on {printable(str(path))}: {_reason(error)}") from error
        yield listener


def _bound(path: Path, mode: int, opened: ExitStack) -> socket.socket:
    """Make the socket, with all that is to be undone.

    Between a look at the path and its removal another agent could have bound it: so all of it
    is done under a lock, which is held to the end. (To bind another name and rename it over
    the path has the same race, and the kernel would tell that other name for ever.)
    """
    _make_folder(path.parent)
    opened.callback(os.close, _lock(path.with_name(f"{path.name}.lock")))
    _make_way(path)
    listener = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    listener.bind(str(path))
    opened.callback(_remove, path, _identity(path))
    path.chmod(mode)  # whatever the umask made of it: nobody can connect before it listens
    listener.listen(socket.SOMAXCONN)
    listener.settimeout(0)
    return listener


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileExistsError:
        return
    folder.chmod(0o755)  # whatever the umask


def _lock(path: Path) -> int:
    """Hold a lock that only this user can hold; its file stays, or two could hold one each."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise NoSocket(f"another koi-runtime runs: it holds {printable(str(path))}") from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _make_way(path: Path) -> None:
    """Remove a dead process's socket, and nothing else."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise FileExistsError(errno.EEXIST, "something else than a socket is there, left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        answer = probe.connect_ex(str(path))
        if answer in _LISTENED_ON:
            raise NoSocket(
                f"another process{_peer_of(probe)} listens on {printable(str(path))}"
                " (systemd does while koi-runtime.socket is active)"
            )
    if answer == errno.ECONNREFUSED:
        path.unlink(missing_ok=True)
    elif answer != errno.ENOENT:
        raise OSError(answer, os.strerror(answer))


def _peer_of(probe: socket.socket) -> str:
    """Name the process that listens, where the kernel can."""
    told = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process: int = _CREDENTIALS.unpack(told)[0]
    return f" (PID {process})" if process > 0 else ""


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _remove(path: Path, identity: tuple[int, int]) -> None:
    """Remove our path, unless systemd's socket unit, say, has taken its place."""
    try:
        if _identity(path) == identity:
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s stays behind: %s", printable(str(path)), _reason(error))


def own_tcp(host: str, port: int) -> socket.socket:
    """Listen at an IP address and a port; an IPv6 one leaves IPv4 alone.

    Raises ``ConfigError`` where ``host`` is no address, ``NoSocket`` where the kernel refuses.
    """
    try:
        version = ip_address(host).version
    except ValueError as error:
        raise ConfigError(f"{printable(host, 255)!r} is no IP address") from error
    shown = f"[{host}]:{port}" if version == 6 else f"{host}:{port}"
    try:
        return _listening(socket.AF_INET6 if version == 6 else socket.AF_INET, host, port)
    except OSError as error:
        raise NoSocket(f"can't listen on {shown}: {_reason(error)}") from error


def _listening(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(socket.SOMAXCONN)
        listener.settimeout(0)
        opened.pop_all()
    return listener


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{reason}: {printable(str(error.filename))}" if error.filename else reason
