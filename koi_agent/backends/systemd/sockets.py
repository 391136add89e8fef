"""Socket units: not instances themselves, but where the services that they trigger listen."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

from koi_agent.backends.systemd.manager import SOCKET, UNIT, UnitStatus
from koi_agent.backends.systemd.units import RUNNING_STATES, Unit, unit_prefix
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import PortMapping, PortSource, Protocol
from koi_agent.core.ports import merge_binds
from koi_agent.core.text import printable
from koi_agent.host.listeners import bind_v6only

SOCKET_PROPERTIES = (
    *((SOCKET, "Listen"), (SOCKET, "Accept"), (UNIT, "Triggers")),
    *((SOCKET, "BindToDevice"), (SOCKET, "BindIPv6Only")),
)
_LISTEN_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})(?:%.*)?")
SUFFIX = ".socket"
_SOCKET_TYPES = {"Stream": Protocol.TCP, "Datagram": Protocol.UDP}


@frozen()
class ListeningSocket:
    """A socket unit that listens: its ports and the services that it triggers."""

    ports: tuple[PortMapping, ...]
    services: frozenset[str]


class SocketTable:
    """The socket units that listen now.

    Signals and lists show which sockets listen; properties that were read show where. A reply with
    properties never makes a socket listen, because a signal may have come before it.

    ``accepting`` are those with Accept=yes, by the prefix that systemd gives the services of their
    connections. A socket stays in it after it stopped, because these services outlive it.
    """

    def __init__(self) -> None:
        self.accepting: dict[str, set[str]] = {}
        self._active: set[str] = set()
        self._listening: dict[str, ListeningSocket] = {}
        self._current: set[str] = set()
        self._read: set[str] = set()

    def state_changed(self, socket: Unit) -> frozenset[str]:
        """Store whether a socket listens; returns the services it triggered if it stopped."""
        if not is_listening(socket):
            return self._remove(socket.name)
        self._active.add(socket.name)
        return frozenset()

    def add(self, name: str, properties: Mapping[str, Any]) -> frozenset[str]:
        """Store the properties of a socket; returns the services it triggers if it listens."""
        accepts = bool(properties.get("Accept"))
        self._store_accept(name, accepts=accepts)
        self._read.add(name)
        if name not in self._active:
            return frozenset()
        self._current.add(name)
        if accepts:
            return frozenset()
        ports = socket_ports(
            [(kind, address) for kind, address in properties.get("Listen", ())],
            interface=printable(properties.get("BindToDevice", "")),
            ipv6_only=_is_v6only(properties.get("BindIPv6Only", "")),
        )
        services = frozenset(properties.get("Triggers", ()))
        self._listening[name] = ListeningSocket(ports, services)
        return services

    def _store_accept(self, name: str, *, accepts: bool) -> None:
        prefix = unit_prefix(name)
        sockets = self.accepting.setdefault(prefix, set())
        (sockets.add if accepts else sockets.discard)(name)
        if not sockets:
            del self.accepting[prefix]

    def _remove(self, name: str) -> frozenset[str]:
        """Remove a socket that no longer listens; return the services it triggered."""
        self._active.discard(name)
        self._current.discard(name)
        removed = self._listening.pop(name, None)
        return removed.services if removed else frozenset()

    def list_received(self, listed: Iterable[UnitStatus], changed: set[str]) -> set[str]:
        """Store which sockets a list shows as listening; returns the services of those removed.

        A daemon-reload may lose their last signal. Those in ``changed`` have sent one since.
        """
        listening = {status.name for status in listed if is_listening(status)}
        self._active |= listening - changed
        missing = self._active - listening - changed
        return {service for name in missing for service in self._remove(name)}

    def must_read(self, unit: Unit | UnitStatus) -> bool:
        """Return True if a unit is a socket that listens, and it is not known where.

        Properties that were read before a daemon-reload do not count.
        """
        return is_listening(unit) and unit.name not in self._current

    def must_list(self, status: UnitStatus) -> bool:
        """Return True for such a socket, and for one that has stopped if Accept= is not known."""
        is_new = status.name.endswith(SUFFIX) and status.name not in self._read
        return is_new or self.must_read(status)

    def reloaded(self) -> None:
        """Mark all properties as read before a daemon-reload."""
        self._current.clear()
        self._read.clear()

    def ports_of(self, service: str) -> list[PortMapping]:
        """Return the ports of the sockets that trigger a service."""
        return [
            port
            for socket in self._listening.values()
            if service in socket.services
            for port in socket.ports
        ]


def is_listening(unit: Unit | UnitStatus) -> bool:
    """Return True if a unit is a socket and listens."""
    return unit.name.endswith(SUFFIX) and unit.active_state in RUNNING_STATES


def _is_v6only(word: str) -> bool:
    """Return True if ``::`` leaves out IPv4; ``default`` is a sysctl, off as a rule."""
    return word == "ipv6-only" or (word == "default" and bind_v6only())


def socket_ports(
    listen: Sequence[tuple[str, str]], *, interface: str = "", ipv6_only: bool = False
) -> tuple[PortMapping, ...]:
    """Parse the ``Listen`` property of a ``.socket`` unit; only IP streams and datagrams count.

    ``interface`` is its BindToDevice=, and ``ipv6_only`` is True if ``::`` leaves out IPv4.
    """
    ports = (replace(one, interface=interface) for one in _ip_ports(listen))
    if ipv6_only:
        ports = (replace(one, is_v6only=one.host_ip == "::") for one in ports)
    return tuple(sorted(merge_binds(ports)))


def _ip_ports(listen: Sequence[tuple[str, str]]) -> Iterator[PortMapping]:
    for socket_type, text in listen:
        match = _LISTEN_ADDRESS.fullmatch(text)
        if socket_type not in _SOCKET_TYPES or match is None:
            continue
        address = _canonical(match[1], match[2])
        port = int(match[3])
        if address and 0 < port < 65536:
            yield PortMapping(
                container_port=port,
                protocol=_SOCKET_TYPES[socket_type],
                host_port=port,
                host_ip=address,
                source=PortSource.LISTENING,
            )


def _canonical(v6: str | None, v4: str | None) -> str:
    """Format an address as the kernel's listeners have it; "" if it is not an address."""
    try:
        if v6 is None:
            return str(IPv4Address(v4 or ""))
        address = IPv6Address(v6)
        return str(address.ipv4_mapped or address)
    except AddressValueError:
        return ""
