"""The only door to the kernel's list of sockets (NETLINK_SOCK_DIAG, sock_diag(7)).

A listener comes with the id of the control group of the task that made it (since Linux 5.8):
that is how a port finds its unit, without privilege and without /proc. Four dumps take about
0.1 ms; somebody may have tens of thousands of sockets, so others get a turn between the parts
of a dump. Only sockets of our own network namespace are seen.
"""

import asyncio
import errno
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

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

_REQUEST = struct.Struct("=BBBxI48x")
_MESSAGE = struct.Struct("=BBBB2s2s16s16sI8x5I")

_STATES = {
    Protocol.TCP: (socket.IPPROTO_TCP, _LISTEN),
    Protocol.UDP: (socket.IPPROTO_UDP, _UNCONNECTED),
}
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_LARGEST_PART = 64 * 1024
_TRIES = 4
_PATIENCE = struct.pack("@ll", 1, 0)
"""One second, as ``SO_RCVTIMEO`` takes it."""
_MANY = 100
"""Sockets in one part of a dump after which others get a turn."""
_MOST_OF_A_GROUP = 1024
"""Listeners of one control group; whoever has more hides some of his own only."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Listener:
    """A socket that waits for peers.

    ``address`` is in canonical form; an IPv4 address mapped into IPv6 is the IPv4 address.
    ``cgroup_id`` is 0 where the kernel gives none. ``v6only`` tells whether ``::`` leaves IPv4
    alone; the kernel sets it for specific IPv6 addresses too. ``ifindex`` is the interface the
    socket is bound to, 0 for any.
    """

    port: int
    protocol: Protocol
    address: str
    cgroup_id: int = 0
    v6only: bool = False
    ifindex: int = 0


async def listeners() -> list[Listener]:
    """Ask the kernel for TCP sockets that listen and UDP sockets without a peer.

    Raises ``OSError`` if the kernel refuses or does not answer. A kernel without UDP's part
    of sock_diag shows no UDP.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as door:
        # Not settimeout, which costs a poll before each of a dozen calls.
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        door.bind((0, 0))
        found = await _of(door, Protocol.TCP)
        try:
            return found + await _of(door, Protocol.UDP)
        except FileNotFoundError:
            return found


async def _of(door: socket.socket, protocol: Protocol) -> list[Listener]:
    return [one for family in _FAMILIES for one in await _dumped(door, protocol, family)]


async def _dumped(door: socket.socket, protocol: Protocol, family: int) -> list[Listener]:
    """Dump until a dump is whole; a host too busy for that gives what the last one saw."""
    found: list[Listener] = []
    for sequence in range(1, _TRIES + 1):
        _ask(door, protocol, family, sequence)
        found, interrupted, done = [], 0, False
        groups: Counter[int] = Counter()
        while not done:
            payloads, flags, done = _part(door, sequence)
            interrupted |= flags & _INTERRUPTED
            found += _some_of_each(payloads, protocol, groups)
            if len(payloads) >= _MANY:
                await asyncio.sleep(0)
        if not interrupted:
            break
    return found


def _some_of_each(
    payloads: Iterable[bytes], protocol: Protocol, groups: Counter[int]
) -> Iterator[Listener]:
    """Read listeners, no more of one control group than anybody can want to know."""
    for payload in payloads:
        one = listener_from(payload, protocol)
        groups[one.cgroup_id] += 1
        if groups[one.cgroup_id] <= _MOST_OF_A_GROUP:
            yield one


def _ask(door: socket.socket, protocol: Protocol, family: int, sequence: int) -> None:
    number, state = _STATES[protocol]
    length = HEADER.size + _REQUEST.size
    header = HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, sequence, 0)
    door.sendto(header + _REQUEST.pack(family, number, 0, 1 << state), (0, 0))


def _part(door: socket.socket, sequence: int) -> tuple[list[bytes], int, bool]:
    """Receive a part of a dump: payloads, their flags together, and whether it was the last."""
    data, _, cut, sender = door.recvmsg(_LARGEST_PART)
    if cut & socket.MSG_TRUNC:
        raise OSError(errno.EMSGSIZE, "sock_diag: a part of the dump was cut")
    payloads: list[bytes] = []
    together, done = 0, False
    for kind, flags, payload in messages(data, sequence) if sender[0] == 0 else ():
        if kind in (DONE, ERROR):
            raise_error(payload)
        together |= flags
        done |= kind == DONE
        if kind == _SOCK_DIAG_BY_FAMILY:
            payloads.append(payload)
    return payloads, together, done


def listener_from(payload: bytes, protocol: Protocol) -> Listener:
    """Read one ``inet_diag_msg`` with its attributes."""
    if len(payload) < _MESSAGE.size:
        raise OSError(errno.EBADMSG, "sock_diag: a message of a wrong length")
    family, _, _, _, port, _, source, _, ifindex, *_ = _MESSAGE.unpack_from(payload)
    return _listener(protocol, family, port, source, ifindex, payload[_MESSAGE.size :])


@lru_cache(maxsize=4096)
def _listener(
    protocol: Protocol, family: int, port: bytes, source: bytes, ifindex: int, rest: bytes
) -> Listener:
    """Read what the kernel mostly says anew each time."""
    said = dict(attributes(rest))
    return Listener(
        port=int.from_bytes(port, "big"),
        protocol=protocol,
        address=_address(family, source),
        cgroup_id=int.from_bytes(said.get(_CGROUP_ID, b""), _NATIVE),
        v6only=any(said.get(_V6ONLY, b"")),
        ifindex=ifindex,
    )


_NATIVE: Final = "little" if struct.pack("=H", 1) == b"\1\0" else "big"


def _address(family: int, source: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, source[:4])
    address = IPv6Address(source)
    return str(address.ipv4_mapped or address)
