"""The interfaces and addresses of this host (NETLINK_ROUTE, rtnetlink(7)).

Bridges that connect only containers and virtual machines of this host have their own kind: no other
host is on them, and they appear and disappear with each project. So have the links to the pods of a
cluster.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.reach.network import HostNetwork, Link, LinkAddress, LinkKind
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
_NAME, _MASTER, _LINK_INFO, _KIND = 3, 10, 18, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_MAX_PART: Final = 64 * 1024

_UP, _LOOPBACK, _RUNNING, _MULTICAST = 0x1, 0x8, 0x40, 0x1000
_TEMPORARY, _DAD_FAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40
_LINK_SCOPE: Final = 253
PATIENCE: Final = 0.2
"""Seconds that the kernel may take, for which the event loop is blocked."""
_VIRTUAL: Final = frozenset({"veth", "tun"})
"""Kinds of interfaces that connect containers and virtual machines to a bridge."""
_OF_MACHINES: Final = ("ve-", "vt-")
"""Beginnings of names: each links this host to one machine of systemd-nspawn or systemd-vmspawn."""
_OF_PODS: Final[Mapping[str, tuple[str, ...]]] = {
    "veth": ("cali", "cilium_", "lxc"),
    "vxlan": ("flannel", "vxlan.calico"),
}
"""Beginnings of names, by kind: a link to a pod, or to the pods of other nodes of a cluster."""


@frozen(kw_only=True)
class Interface:
    """A network interface; ``kind`` is "" for hardware, ``master`` is 0 outside of a bridge."""

    index: int
    name: str
    flags: int
    kind: str = ""
    master: int = 0


@frozen(kw_only=True, order=True)
class HostAddress:
    """An address of this host; ``interface`` is its index, as in if_nameindex(3)."""

    interface: int
    address: str


class Addresses:
    """A watch on this host's addresses."""

    def __init__(self) -> None:
        self._netlink = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _ROUTE
        )
        self._netlink.bind((0, _CHANGES))

    def close(self) -> None:
        """End the watch."""
        self._netlink.close()

    async def changed(self) -> None:
        """Wait until an interface or an address has changed, or a notification of that was lost."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # ENOBUFS: more has changed than the kernel queues
            await loop.sock_recv(self._netlink, _MAX_PART)
        with suppress(OSError):
            while self._netlink.recv(_MAX_PART):
                pass


def now() -> tuple[HostAddress, ...]:
    """Return the addresses to announce by mDNS; raises ``OSError``."""
    return announced(network())


def network() -> HostNetwork:
    """Return the interfaces of this host with their addresses; raises ``OSError``."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _ROUTE) as netlink:
        netlink.settimeout(PATIENCE)
        netlink.bind((0, 0))
        interfaces = [_interface(p) for p in _dump(netlink, _GET_LINK, _NEW_LINK)]
        addresses = [_address(p) for p in _dump(netlink, _GET_ADDRESS, _NEW_ADDRESS)]
    return HostNetwork(tuple(links(interfaces, addresses)))


def announced(found: HostNetwork) -> tuple[HostAddress, ...]:
    """Return the addresses to announce by mDNS, sorted: those of networks with multicast."""
    return tuple(
        sorted(
            HostAddress(interface=link.index, address=one.address)
            for link in found.networks()
            if link.has_multicast
            for one in link.announced()
        )
    )


def links(
    interfaces: Sequence[Interface], addresses: Iterable[tuple[int, LinkAddress]]
) -> Iterator[Link]:
    """Yield interfaces with their addresses, sorted by name.

    Ports of a bridge or a bond are left out, because their networks are those of their master. An
    interface in a VRF has a network of its own.
    """
    by_index: dict[int, list[LinkAddress]] = {}
    for index, address in addresses:
        by_index.setdefault(index, []).append(address)
    ports: dict[int, list[Interface]] = {}
    for interface in interfaces:
        ports.setdefault(interface.master, []).append(interface)
    in_vrf = {one.index for one in interfaces if one.kind == "vrf"} | {0}
    for interface in sorted(interfaces, key=lambda one: one.name):
        if interface.master in in_vrf:
            yield Link(
                name=interface.name,
                index=interface.index,
                kind=_kind(interface, ports.get(interface.index, ())),
                is_bridge=interface.kind == "bridge" or _leads_to_machine(interface),
                has_multicast=bool(interface.flags & _MULTICAST),
                addresses=tuple(sorted(by_index.get(interface.index, ()))),
            )


def _kind(interface: Interface, ports: Iterable[Interface]) -> LinkKind:
    """Return which hosts are on the network of an interface."""
    if interface.flags & _LOOPBACK:
        return LinkKind.LOOPBACK
    if interface.kind == "bridge" and all(port.kind in _VIRTUAL for port in ports):
        return LinkKind.CONTAINERS
    is_inside = _leads_to_machine(interface) or _leads_to_pods(interface)
    if is_inside and not interface.master:
        return LinkKind.CONTAINERS
    is_up = interface.flags & (_UP | _RUNNING) == _UP | _RUNNING
    return LinkKind.NETWORK if is_up else LinkKind.DOWN


def _leads_to_machine(interface: Interface) -> bool:
    return interface.kind in _VIRTUAL and interface.name.startswith(_OF_MACHINES)


def _leads_to_pods(interface: Interface) -> bool:
    return interface.name.startswith(_OF_PODS.get(interface.kind, ()))


def _dump(netlink: socket.socket, request: int, kind: int) -> Iterator[bytes]:
    """Request a dump of one message type; yields the payloads. Raises ``OSError``."""
    body = struct.pack("=B3x", socket.AF_UNSPEC)
    header = HEADER.pack(HEADER.size + len(body), request, REQUEST_DUMP, request, 0)
    netlink.sendto(header + body, (0, 0))
    while True:
        for type_, _, payload in messages(netlink.recv(_MAX_PART), request):
            if type_ == ERROR:
                raise_error(payload)
            if type_ in (DONE, ERROR):
                return
            if type_ == kind:
                yield payload


def _interface(payload: bytes) -> Interface:
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    values = dict(attributes(payload[_LINK.size :]))
    info = dict(attributes(values.get(_LINK_INFO, b"")))
    return Interface(
        index=index,
        name=_text(values.get(_NAME, b"")),
        flags=flags,
        kind=_text(info.get(_KIND, b"")),
        master=_number(values.get(_MASTER, b"")),
    )


def _address(payload: bytes) -> tuple[int, LinkAddress]:
    """Return the index of an interface, and an address of it."""
    family, prefix, short_flags, scope, index = _ADDRESS.unpack_from(payload)
    values = dict(attributes(payload[_ADDRESS.size :]))
    packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS) or bytes(4)
    flags = _number(values.get(_IFA_FLAGS, b"")) or short_flags
    unusable = _DAD_FAILED | _DEPRECATED | _TENTATIVE
    unusable |= _TEMPORARY if family == socket.AF_INET6 else 0
    address = ip_address(packed)
    return index, LinkAddress(
        address=str(address),
        prefix=prefix,
        is_link_local=scope == _LINK_SCOPE or address.is_link_local,
        is_lasting=not flags & unusable,
    )


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("ascii", "replace")


def _number(data: bytes) -> int:
    """Parse a 32-bit number in native byte order; return 0 if it has another size."""
    return int(struct.unpack("=I", data)[0]) if len(data) == 4 else 0
