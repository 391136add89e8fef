"""The addresses by which others on the network reach this host (NETLINK_ROUTE, rtnetlink(7)).

Bridges that only containers and virtual machines of this host are connected to are no network of
others: what is said of the host there, nobody else hears, and they come and go with each project.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from koi_agent.host.netlink import (
    DONE,
    ERROR,
    HEADER,
    REQUEST_DUMP,
    attributes,
    messages,
    raise_error,
)

_ROUTE: Final = 0  # NETLINK_ROUTE
_CHANGES: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR
_NEW_LINK, _GET_LINK = 16, 18
_NEW_ADDRESS, _GET_ADDRESS = 20, 22
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_MASTER, _LINK_INFO, _KIND = 10, 18, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_LARGEST_PART: Final = 64 * 1024

_UP, _LOOPBACK, _RUNNING, _MULTICAST = 0x1, 0x8, 0x40, 0x1000
_TEMPORARY, _DAD_FAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40
_LINK_SCOPE: Final = 253
PATIENCE: Final = 0.2
"""Seconds that the kernel may take: we stand still meanwhile."""
_VIRTUAL: Final = frozenset({"veth", "tun"})
"""Kinds of interfaces by which containers and virtual machines are connected to a bridge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface; ``kind`` is "" for hardware, ``master`` 0 where it is in no bridge."""

    index: int
    flags: int
    kind: str = ""
    master: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class HostAddress:
    """An address of this host on one network; ``interface`` is an index as in if_nameindex(3)."""

    interface: int
    address: str
    linklocal: bool = False


class Addresses:
    """A watch on this host's addresses."""

    def __init__(self) -> None:
        self._door = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _ROUTE
        )
        self._door.bind((0, _CHANGES))

    def close(self) -> None:
        """End the watch."""
        self._door.close()

    async def changed(self) -> None:
        """Wait until an interface or an address has changed, or word of that was lost."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # ENOBUFS: more has changed than the kernel keeps for us
            await loop.sock_recv(self._door, _LARGEST_PART)
        with suppress(OSError):
            while self._door.recv(_LARGEST_PART):
                pass


def now() -> tuple[HostAddress, ...]:
    """Ask the kernel for the addresses by which others reach this host; raises ``OSError``."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _ROUTE) as door:
        door.settimeout(PATIENCE)
        door.bind((0, 0))
        interfaces = [_interface(p) for p in _dumped(door, _GET_LINK, _NEW_LINK)]
        addresses = [_address(p) for p in _dumped(door, _GET_ADDRESS, _NEW_ADDRESS)]
    return reachable(interfaces, [one for one in addresses if one])


def reachable(
    interfaces: Iterable[Interface], addresses: Iterable[HostAddress]
) -> tuple[HostAddress, ...]:
    """Choose the addresses on networks of others; of one link only where there are no more."""
    known = {interface.index: interface for interface in interfaces}
    usable = {index for index, interface in known.items() if _leads_out(interface, known)}
    found = sorted(one for one in addresses if one.interface in usable)
    wide = tuple(one for one in found if not one.linklocal)
    return wide or tuple(found)


def _leads_out(interface: Interface, known: Mapping[int, Interface]) -> bool:
    """Tell whether others may be on an interface's network."""
    needed = _UP | _RUNNING | _MULTICAST
    if interface.flags & _LOOPBACK or interface.flags & needed != needed:
        return False
    if interface.kind != "bridge":
        return True
    inside = (other for other in known.values() if other.master == interface.index)
    return any(other.kind not in _VIRTUAL for other in inside)


def _dumped(door: socket.socket, request: int, kind: int) -> Iterator[bytes]:
    """Ask for everything of a kind; yields the payloads."""
    body = struct.pack("=B3x", socket.AF_UNSPEC)
    header = HEADER.pack(HEADER.size + len(body), request, REQUEST_DUMP, request, 0)
    door.sendto(header + body, (0, 0))
    while True:
        for said, _, payload in messages(door.recv(_LARGEST_PART), request):
            if said == ERROR:
                raise_error(payload)
            if said in (DONE, ERROR):
                return
            if said == kind:
                yield payload


def _interface(payload: bytes) -> Interface:
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    said = dict(attributes(payload[_LINK.size :]))
    info = dict(attributes(said.get(_LINK_INFO, b"")))
    return Interface(
        index=index,
        flags=flags,
        kind=info.get(_KIND, b"").rstrip(b"\0").decode("ascii", "replace"),
        master=_number(said.get(_MASTER, b"")),
    )


def _address(payload: bytes) -> HostAddress | None:
    """Read an address; ``None`` is one that should not be told to others."""
    family, _, short_flags, scope, index = _ADDRESS.unpack_from(payload)
    said = dict(attributes(payload[_ADDRESS.size :]))
    packed = said.get(_IFA_LOCAL) or said.get(_IFA_ADDRESS)
    flags = _number(said.get(_IFA_FLAGS, b"")) or short_flags
    unfit = _DAD_FAILED | _DEPRECATED | _TENTATIVE
    unfit |= _TEMPORARY if family == socket.AF_INET6 else 0
    if packed is None or flags & unfit or scope > _LINK_SCOPE:
        return None
    text = str(ip_address(packed))
    return HostAddress(interface=index, address=text, linklocal=scope == _LINK_SCOPE)


def _number(data: bytes) -> int:
    """Read a number in the machine's byte order."""
    return int(struct.unpack("=I", data)[0]) if len(data) == 4 else 0
