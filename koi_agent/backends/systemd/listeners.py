"""Which ports a unit serves: from the kernel's listeners, its sockets and what its owner says.

A listener names the control group of the task that made it, and ``control_groups`` finds the
unit of that. Here is what becomes of a unit's listeners, by pure rules, and when to look.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from types import MappingProxyType
from typing import Final

from koi_agent.core.instance import KoiMetadata, PortMapping, PortSource, Protocol
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

EPHEMERAL: Final = range(32768, 61000)
"""The kernel's own default, for where a sandbox hides what is configured."""

_EPHEMERAL_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared, not bound
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
    own = (
        _listening(one.port, one.protocol, one.address)
        for one in listeners
        if _is_declared(one, metadata)
        or (unit not in NOT_THEIR_OWN and not _is_client(one, ephemeral))
    )
    shown = [*_one_each([*own, *sockets])]
    seen = {(mapping.container_port, mapping.protocol) for mapping in shown}
    return tuple(sorted([*shown, *_declared(metadata, seen)]))


def _is_declared(one: Listener, metadata: KoiMetadata) -> bool:
    """Tell whether the owner spoke of this port; ``X-Koi-Port=`` means either protocol."""
    if one.port == metadata.port:
        return True
    return any(service == (one.port, one.protocol) for service, _ in metadata.ports)


def _is_client(one: Listener, ephemeral: range) -> bool:
    """Tell whether this is most likely a client that waits for an answer, as resolvers do."""
    return one.protocol is Protocol.UDP and one.port in ephemeral


def _one_each(mappings: Iterable[PortMapping]) -> Iterator[PortMapping]:
    """Make one service of the IPv4 and IPv6 binds of a port.

    A wildcard beats every specific address, and there is one wildcard: ``::`` as soon as it is
    bound, which on Linux means both families (the rare socket that is IPv6 only gets no other
    name, for a port has one), else ``0.0.0.0``. Specific addresses stay apart.
    """
    services: dict[tuple[int, Protocol], set[PortMapping]] = {}
    for mapping in mappings:
        services.setdefault((mapping.container_port, mapping.protocol), set()).add(mapping)
    for binds in services.values():
        wildcards = [bind for bind in binds if bind.host_ip in _WILDCARDS]
        if wildcards:
            yield max(wildcards, key=lambda bind: bind.host_ip)
        else:
            yield from binds


def _declared(metadata: KoiMetadata, seen: set[tuple[int, Protocol]]) -> Iterator[PortMapping]:
    """Name what the owner spoke of and nothing shows; TCP unless a service type says UDP."""
    services = {service for service, _ in metadata.ports}
    named = {port for port, _ in services | seen}
    if metadata.port is not None and metadata.port not in named:
        is_udp = (metadata.service_type or "").endswith("._udp")
        services.add((metadata.port, Protocol.UDP if is_udp else Protocol.TCP))
    for port, protocol in services - seen:
        yield _mapping(port, protocol, "", PortSource.DECLARED)


def _listening(port: int, protocol: Protocol, address: str) -> PortMapping:
    return _mapping(port, protocol, address, PortSource.LISTENING)


def _mapping(port: int, protocol: Protocol, address: str, source: PortSource) -> PortMapping:
    return PortMapping(
        container_port=port,
        protocol=protocol,
        host_port=port,
        host_ip=address,
        source=source,
    )


def socket_ports(listen: Sequence[tuple[str, str]]) -> tuple[PortMapping, ...]:
    """Read the ``Listen`` property of a ``.socket`` unit; only IP streams and datagrams count."""
    return tuple(sorted(_one_each(_inet(listen))))


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


def ephemeral_ports(file: Path = _EPHEMERAL_FILE) -> range:
    """Ask the kernel which ports it gives to clients; its default if it can't be asked."""
    try:
        first, last = (int(number) for number in file.read_text("ascii").split())
    except (OSError, ValueError):
        return EPHEMERAL
    return range(first, last + 1)


class Schedule:
    """When to look at listeners: soon after each start and ever later, one look for all.

    A service opens its ports some time after it started, and nothing tells when. Times are the
    caller's monotonic seconds. What is due within one tenth of a second shares a look, so a
    storm of starts makes no more than ten looks a second and holds no more than 301 times.
    """

    AFTER: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    SPACING: Final = 0.1
    REST: Final = 20

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._free = float("-inf")

    def started(self, now: float) -> None:
        """Note that something started."""
        for delay in self.AFTER:
            due = now + delay
            tenth = int(due / self.SPACING)
            self._due[tenth] = max(due, self._due.get(tenth, due))

    def due(self) -> float | None:
        """Say when to look next; ``None`` while there is nothing to look for."""
        if not self._due:
            return None
        return max(self._due[min(self._due)], self._free)

    def taken(self, now: float, *, took: float = 0.0) -> None:
        """Note that a look was taken, for all that wanted one until now.

        ``took`` is how many seconds it lasted: on a host with so many sockets that a look
        takes long, the next is as much later.
        """
        self._due = {tenth: due for tenth, due in self._due.items() if due > now}
        self._free = now + max(self.SPACING, took * self.REST)
