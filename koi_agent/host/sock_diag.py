"""Reads the kernel's list of sockets (NETLINK_SOCK_DIAG, sock_diag(7)).

Since Linux 5.8 a listener comes with the id of the control group of the task that created it.
This assigns a port to its unit without privilege and without /proc. Four dumps take about 0.1 ms.
A host may have tens of thousands of sockets, so other tasks run between the parts of a dump. Only
sockets of the process's own network namespace are listed.
"""

import asyncio
import errno
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Protocol
from koi_agent.host.netlink import (
    DONE,
    ERROR,
    HEADER,
    REQUEST_DUMP,
    attributes,
    messages,
    raise_error,
)

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_INTERRUPTED: Final = 0x10  # NLM_F_DUMP_INTR
_LISTEN: Final = 10
_UNCONNECTED: Final = 7  # TCP_CLOSE, which for UDP means bound but not connected
_V6ONLY: Final = 11
_CGROUP_ID: Final = 21

_REQUEST = struct.Struct("=BBBxI2s46x")
_MESSAGE = struct.Struct("=BBBB2s2s16s16sI8x5I")

_UID: Final = -2
"""The position in a message."""
_STATES = {
    Protocol.TCP: (socket.IPPROTO_TCP, _LISTEN),
    Protocol.UDP: (socket.IPPROTO_UDP, _UNCONNECTED),
}
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_MAX_PART = 64 * 1024
_ATTEMPTS = 4
_TIMEOUT = struct.pack("@ll", 1, 0)
"""One second, as a ``struct timeval`` for ``SO_RCVTIMEO``."""
_YIELD_AFTER = 100
"""Sockets in one part of a dump after which other tasks run."""
_MAX_PER_GROUP = 1024
"""Listeners of a protocol that are returned of one control group; more hide only its own."""


@frozen(kw_only=True, order=True)
class Listener:
    """A TCP socket that listens, or a UDP socket without a peer.

    - ``address`` is in canonical form; an IPv4-mapped IPv6 address is the IPv4 address.
    - ``cgroup_id`` is 0 if the kernel gives none.
    - ``v6only`` is true if ``::`` does not include IPv4. The kernel sets it for specific IPv6
      addresses too.
    - ``ifindex`` is the interface that the socket is bound to, 0 for any.
    """

    port: int
    protocol: Protocol
    address: str
    cgroup_id: int = 0
    v6only: bool = False
    ifindex: int = 0


async def listeners() -> list[Listener]:
    """Return the TCP sockets that listen and the UDP sockets without a peer.

    Raises ``OSError`` if the kernel refuses or does not answer. A kernel without sock_diag for
    UDP gives no UDP sockets.
    """
    with _opened() as netlink:
        found = await _listeners(netlink, Protocol.TCP)
        try:
            return found + await _listeners(netlink, Protocol.UDP)
        except FileNotFoundError:
            return found


def owners(address: str, port: int) -> frozenset[int]:
    """Return the users whose TCP sockets receive the connections to an address and a port.

    Raises ``OSError`` if the kernel refuses or does not answer.
    """
    found: set[int] = set()
    with _opened() as netlink:
        for sequence, family in enumerate(_FAMILIES, 1):
            _request(netlink, Protocol.TCP, family, sequence, port)
            done = False
            while not done:
                payloads, _, done = _receive_part(netlink, sequence)
                for payload in payloads:
                    listener = listener_from(payload, Protocol.TCP)
                    if listener.port == port and listener.address in _binds(address, listener):
                        found.add(_MESSAGE.unpack_from(payload)[_UID])
    return frozenset(found)


def _binds(address: str, listener: Listener) -> Sequence[str]:
    """Return the addresses at which a socket receives the connections to an address."""
    if ":" in address:
        return address, "::"
    return (address, "0.0.0.0") if listener.v6only else (address, "0.0.0.0", "::")  # noqa: S104


@contextmanager
def _opened() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        # settimeout would poll before each of a dozen calls.
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        netlink.bind((0, 0))
        yield netlink


async def _listeners(netlink: socket.socket, protocol: Protocol) -> list[Listener]:
    found: list[Listener] = []
    for family in _FAMILIES:
        found += await dump(netlink, protocol, family, found)
    return found


async def dump(
    netlink: socket.socket, protocol: Protocol, family: int, before: Sequence[Listener] = ()
) -> list[Listener]:
    """Return the listeners of one protocol and family; those of other families were ``before``.

    A dump that was interrupted by changes is repeated, up to ``_ATTEMPTS`` times. Raises
    ``OSError`` if the kernel refuses.
    """
    found: list[Listener] = []
    for sequence in range(1, _ATTEMPTS + 1):
        _request(netlink, protocol, family, sequence)
        found, interrupted, done = [], 0, False
        groups = Counter(one.cgroup_id for one in before)
        while not done:
            payloads, flags, done = _receive_part(netlink, sequence)
            interrupted |= flags & _INTERRUPTED
            found += _parsed(payloads, protocol, groups)
            if len(payloads) >= _YIELD_AFTER:
                await asyncio.sleep(0)
        if not interrupted:
            break
    return found


def _parsed(
    payloads: Iterable[bytes], protocol: Protocol, groups: Counter[int]
) -> Iterator[Listener]:
    """Yield listeners, up to ``_MAX_PER_GROUP`` of each control group, which ``groups`` counts."""
    for payload in payloads:
        listener = listener_from(payload, protocol)
        groups[listener.cgroup_id] += 1
        if groups[listener.cgroup_id] <= _MAX_PER_GROUP:
            yield listener


def _request(
    netlink: socket.socket, protocol: Protocol, family: int, sequence: int, port: int = 0
) -> None:
    """Request a dump; with a port, only of the sockets that have it."""
    number, state = _STATES[protocol]
    length = HEADER.size + _REQUEST.size
    header = HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, sequence, 0)
    netlink.sendto(
        header + _REQUEST.pack(family, number, 0, 1 << state, port.to_bytes(2, "big")), (0, 0)
    )


def _receive_part(netlink: socket.socket, sequence: int) -> tuple[list[bytes], int, bool]:
    """Receive a part of a dump; returns payloads, their flags joined, and if it was the last."""
    data, _, message_flags, sender = netlink.recvmsg(_MAX_PART)
    if message_flags & socket.MSG_TRUNC:
        raise OSError(errno.EMSGSIZE, "sock_diag: a part of the dump was truncated")
    payloads: list[bytes] = []
    all_flags, done = 0, False
    for kind, flags, payload in messages(data, sequence) if sender[0] == 0 else ():
        if kind in (DONE, ERROR):
            raise_error(payload)
        all_flags |= flags
        done |= kind == DONE
        if kind == _SOCK_DIAG_BY_FAMILY:
            payloads.append(payload)
    return payloads, all_flags, done


def listener_from(payload: bytes, protocol: Protocol) -> Listener:
    """Parse one ``inet_diag_msg`` with its attributes; raises ``OSError`` if it is too short."""
    if len(payload) < _MESSAGE.size:
        raise OSError(errno.EBADMSG, "sock_diag: message with a wrong length")
    family, _, _, _, port, _, source, _, ifindex, *_ = _MESSAGE.unpack_from(payload)
    return _listener(protocol, family, port, source, ifindex, payload[_MESSAGE.size :])


@lru_cache(maxsize=4096)
def _listener(
    protocol: Protocol, family: int, port: bytes, source: bytes, ifindex: int, rest: bytes
) -> Listener:
    """Return a listener; cached, because most are the same in each dump."""
    values = dict(attributes(rest))
    return Listener(
        port=int.from_bytes(port, "big"),
        protocol=protocol,
        address=_address(family, source),
        cgroup_id=int.from_bytes(values.get(_CGROUP_ID, b""), _BYTE_ORDER),
        v6only=any(values.get(_V6ONLY, b"")),
        ifindex=ifindex,
    )


_BYTE_ORDER: Final = "little" if struct.pack("=H", 1) == b"\1\0" else "big"


def _address(family: int, source: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, source[:4])
    address = IPv6Address(source)
    return str(address.ipv4_mapped or address)
