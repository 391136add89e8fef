"""Listening sockets: those that systemd passes, or sockets that the agent creates itself.

systemd keeps its sockets while the agent does not run, so that no connection is refused, and
nothing here removes them. Own sockets are for an agent that was started by hand.
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
_IN_USE_ERRORS: Final = (0, errno.EAGAIN, errno.EPROTOTYPE)
"""Results of connect() to a socket in use: success, backlog full, another socket type."""
IP_PKTINFO: Final = 8
"""The option of ip(7), which Python names since 3.14."""
_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred: process, user, group


class NoSocket(KoiError):
    """There is no socket to listen on: another process has it, or the kernel refuses."""


STREAMS: Final = (socket.SOCK_STREAM,)
STREAMS_AND_DATAGRAMS: Final = (socket.SOCK_STREAM, socket.SOCK_DGRAM)


def passed(
    environment: MutableMapping[str, str], kinds: Mapping[str, Collection[socket.SocketKind]]
) -> dict[str, list[socket.socket]]:
    """Return the listening, non-blocking sockets that systemd has passed, by name.

    ``environment`` must be the process's own; the variables of sd_listen_fds(3) are removed.
    ``kinds`` has the kinds of sockets that each FileDescriptorName= may have. Descriptors with
    another name are closed and logged. Raises ``ConfigError`` for a descriptor of another kind and
    for a stream socket that does not listen: the socket unit is wrong.
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
            if name in kinds:
                listener = opened.enter_context(_listener(descriptor, name, kinds[name]))
                found.setdefault(name, []).append(listener)
            else:
                _close_unknown(descriptor, name, kinds)
        opened.pop_all()
    return found


def _descriptors() -> dict[int, str]:
    from systemd.daemon import (  # type: ignore[import-untyped]  # noqa: PLC0415
        listen_fds_with_names,  # loads libsystemd, which an agent started by hand does not need
    )

    try:
        return dict(listen_fds_with_names(unset_environment=True))
    except OSError as error:
        raise ConfigError(f"LISTEN_FDS=, LISTEN_FDNAMES=: {error.strerror}") from error


def _close_unknown(descriptor: int, name: str, names: Collection[str]) -> None:
    log.warning(
        "socket unit: unknown FileDescriptorName=, descriptor %d closed: %s; use %s",
        descriptor,
        printable(name, 255),
        " or ".join(names),
    )
    os.close(descriptor)


def _listener(descriptor: int, name: str, kinds: Collection[socket.SocketKind]) -> socket.socket:
    subject = f"socket unit: FileDescriptorName={name}"
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"{subject}: not a socket: {error.strerror}") from error
    is_stream = listener.type == socket.SOCK_STREAM
    listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listener.type not in kinds or (is_stream and not listens):
        listener.close()
        use = "ListenStream= and ListenDatagram=" if len(kinds) > 1 else "ListenStream="
        raise ConfigError(f"{subject}: not a socket that can be served; use {use} and Accept=no")
    if listener.type == socket.SOCK_DGRAM:
        _pass_destinations(listener)
    listener.settimeout(0)
    return listener


def _pass_destinations(listener: socket.socket) -> None:
    """Make the kernel pass the address to which each datagram was sent."""
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    if listener.family == socket.AF_INET:
        listener.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def http_path(scope: str, environment: Mapping[str, str]) -> Path:
    """Return the path of the HTTP socket of a scope, ``system`` or ``user``.

    Raises ``ConfigError`` if a user has no runtime directory.
    """
    if scope == "system":
        return Path("/run/koi-runtime/http.sock")
    directory = environment.get("XDG_RUNTIME_DIR", "")
    if not directory.startswith("/"):  # the XDG specification says to ignore other values
        raise ConfigError("XDG_RUNTIME_DIR=: not set; the HTTP socket of a user is below it")
    return Path(directory, "koi-runtime/http.sock")


@contextmanager
def own_unix(path: Path, *, mode: int) -> Iterator[socket.socket]:
    """Listen on a path with this mode, until the context is left.

    A missing directory is created, and the socket of a dead process is replaced. Raises
    ``NoSocket`` if a process listens there, if the path is not a socket, and if the kernel
    refuses. At the end the path is removed if it is still the same socket.
    """
    with ExitStack() as opened:
        try:
            listener = _bound(path, mode, opened)
        except OSError as error:
            raise NoSocket(f"{printable(str(path))}: can't listen: {_reason(error)}") from error
        yield listener


def _bound(path: Path, mode: int, opened: ExitStack) -> socket.socket:
    """Create the socket; ``opened`` gets what must be undone.

    Another agent could bind the path between the check of it and its removal. So all of this is
    done under a lock, which is held to the end. To bind another name and rename it to the path
    has the same race, and the kernel would report the other name forever.
    """
    _make_directory(path.parent)
    opened.callback(os.close, _lock(path.with_name(f"{path.name}.lock")))
    _remove_stale(path)
    listener = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    listener.bind(str(path))
    opened.callback(_remove, path, _identity(path))
    path.chmod(mode)  # independent of the umask; no connection is possible before it listens
    listener.listen(socket.SOMAXCONN)
    listener.settimeout(0)
    return listener


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir()
    except FileExistsError:
        return
    directory.chmod(0o755)  # independent of the umask


def _lock(path: Path) -> int:
    """Lock a file that only this user can lock.

    The file stays, because a new one could be locked as well.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise NoSocket(
            f"{printable(str(path))}: another koi-runtime runs and holds the lock"
        ) from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_stale(path: Path) -> None:
    """Remove the socket of a dead process, and nothing else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "not a socket, not removed")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        result = probe.connect_ex(str(path))
        if result in _IN_USE_ERRORS:
            raise NoSocket(
                f"{printable(str(path))}: another process{_peer_of(probe)} listens there;"
                " if it is systemd, stop koi-runtime.socket"
            )
    if result == errno.ECONNREFUSED:
        path.unlink(missing_ok=True)
    elif result != errno.ENOENT:
        raise OSError(result, os.strerror(result))


def _peer_of(probe: socket.socket) -> str:
    """Return the PID of the process that listens, as text, "" if the kernel has none."""
    credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process: int = _CREDENTIALS.unpack(credentials)[0]
    return f" (PID {process})" if process > 0 else ""


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _remove(path: Path, identity: tuple[int, int]) -> None:
    """Remove the path of the own socket, unless another one, as of a socket unit, replaced it."""
    try:
        if _identity(path) == identity:
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s: can't be removed: %s", printable(str(path)), _reason(error))


def own_tcp(host: str, port: int) -> socket.socket:
    """Listen on an IP address and a port; IPv6 does not include IPv4.

    Raises ``ConfigError`` if ``host`` is not an address, ``NoSocket`` if the kernel refuses.
    """
    return _own(socket.SOCK_STREAM, host, port)


def own_udp(host: str, port: int) -> socket.socket:
    """Return a socket for the datagrams to an IP address and a port; errors as in ``own_tcp``.

    The kernel passes the address to which each datagram was sent, in an ancillary message.
    """
    return _own(socket.SOCK_DGRAM, host, port)


def _own(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    try:
        version = ip_address(host).version
    except ValueError as error:
        raise ConfigError(f"{printable(host, 255)!r}: not an IP address") from error
    shown = f"[{host}]:{port}" if version == 6 else f"{host}:{port}"
    try:
        return _listening(socket.AF_INET6 if version == 6 else socket.AF_INET, kind, (host, port))
    except OSError as error:
        raise NoSocket(f"{shown}: can't listen: {_reason(error)}") from error


def _listening(
    family: socket.AddressFamily, kind: socket.SocketKind, address: tuple[str, int]
) -> socket.socket:
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(family, kind))
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            _pass_destinations(listener)
        listener.bind(address)
        if kind == socket.SOCK_STREAM:
            listener.listen(socket.SOMAXCONN)
        listener.settimeout(0)
        opened.pop_all()
    return listener


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{reason}: {printable(str(error.filename))}" if error.filename else reason
