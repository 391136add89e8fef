"""Which ports a unit serves: from the kernel's listeners, its sockets and what its owner says.

``koi_agent.host.census`` finds a unit's listeners; here is what becomes of them, by pure rules.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Final

from koi_agent.core.instance import KoiMetadata, PortMapping, PortSource, Protocol
from koi_agent.core.ports import declared, merge_binds
from koi_agent.host.listeners import EPHEMERAL, is_declared, served
from koi_agent.host.sock_diag import Listener

PRIVATE_NETWORK_NOTE: Final = (
    "the unit has a network namespace of its own: its listeners can't be seen from here"
)

NOT_THEIR_OWN: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(
        ("docker.service", "snap.docker.dockerd.service"),
        "its listeners are docker-proxy's, which serve containers: only declared ports count",
    )
)
"""Units whose control group holds listeners that serve others, and why."""

_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})(?:%.*)?")
_SOCKET_TYPES = {"Stream": Protocol.TCP, "Datagram": Protocol.UDP}


def unit_ports(
    unit: str,
    listeners: Iterable[Listener],
    metadata: KoiMetadata,
    *,
    sockets: Iterable[PortMapping] = (),
    ephemeral: range = EPHEMERAL,
) -> tuple[PortMapping, ...]:
    """Say which ports a unit serves, sorted.

    ``sockets`` are the ports of the ``.socket`` units that trigger it; they are its own, even
    where PID 1 made them. A declared port that nothing shows is added.
    """
    if unit in NOT_THEIR_OWN:
        listeners = [one for one in listeners if is_declared(one, metadata)]
    own = served(listeners, metadata, ephemeral=ephemeral)
    shown = [*merge_binds([*own, *sockets])]
    seen = {(mapping.container_port, mapping.protocol) for mapping in shown}
    return tuple(sorted([*shown, *declared(metadata, seen)]))


def _listening(port: int, protocol: Protocol, address: str) -> PortMapping:
    return PortMapping(
        container_port=port,
        protocol=protocol,
        host_port=port,
        host_ip=address,
        source=PortSource.LISTENING,
    )


def socket_ports(listen: Sequence[tuple[str, str]]) -> tuple[PortMapping, ...]:
    """Read the ``Listen`` property of a ``.socket`` unit; only IP streams and datagrams count."""
    return tuple(sorted(merge_binds(_inet(listen))))


def _inet(listen: Sequence[tuple[str, str]]) -> Iterator[PortMapping]:
    for kind, where in listen:
        found = _LISTEN.fullmatch(where)
        if kind not in _SOCKET_TYPES or found is None:
            continue
        address = _canonical(found[1], found[2])
        port = int(found[3])
        if address and 0 < port < 65536:
            yield _listening(port, _SOCKET_TYPES[kind], address)


def _canonical(v6: str | None, v4: str | None) -> str:
    """Write an address as the kernel's listeners have it; empty if it is none."""
    try:
        if v6 is None:
            return str(IPv4Address(v4 or ""))
        address = IPv6Address(v6)
        return str(address.ipv4_mapped or address)
    except AddressValueError:
        return ""
