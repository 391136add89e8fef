"""Which ports a container has: those its engine publishes, and those its image only names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from koi_agent.backends.http_engine.json_fields import Answer, address, number, objects, text
from koi_agent.core.instance import KoiMetadata, PortMapping, PortSource, Protocol
from koi_agent.core.ports import declared, widest

Exposed = frozenset[tuple[int, Protocol]]

_PORT_LIMIT: Final = 65536
_ANYWHERE: Final = "0.0.0.0"  # noqa: S104 - compared, not bound
_SPELLED: Final = re.compile("([0-9]{1,5})(?:/([a-z0-9]{1,12}))?")
_PROTOCOLS: Final = {"tcp": Protocol.TCP, "udp": Protocol.UDP}

_Binds = dict[tuple[int, Protocol, int], set[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports of one answer.

    ``published`` are in order, ``exposed`` those that are not among them. ``left_out`` are of
    protocols that nothing here can announce, spelled as in ``5000/sctp``.
    """

    published: tuple[PortMapping, ...]
    exposed: Exposed
    left_out: tuple[str, ...]


def listed_ports(said: Answer) -> Ports:
    """Read ``Ports`` of a list's answer, which come in any order."""
    binds: _Binds = {}
    exposed: set[tuple[int, Protocol]] = set()
    left_out: set[str] = set()
    for one in objects(said, "Ports"):
        container_port = number(one, "PrivatePort", _PORT_LIMIT)
        host_port = number(one, "PublicPort", _PORT_LIMIT)
        protocol = _PROTOCOLS.get(text(one, "Type"))
        if protocol is None:
            left_out.add(f"{container_port}/{text(one, 'Type')}")
        elif container_port and host_port:
            _bind(binds, (container_port, protocol, host_port), one, "IP")
        elif container_port:
            exposed.add((container_port, protocol))
    return _ports(binds, exposed, left_out)


def inspected_ports(network: Answer, config: Answer) -> Ports:
    """Read ``Ports`` of an inspection's network, and ``ExposedPorts`` of its configuration."""
    binds: _Binds = {}
    for spelled, bound in network.items():
        port = _port(spelled)
        for one in objects({spelled: bound}, spelled):
            host_port = _port(text(one, "HostPort"))
            if port and host_port:
                _bind(binds, (*port, host_port[0]), one, "HostIp")
    exposed = {port for spelled in config if (port := _port(spelled))}
    return _ports(binds, exposed, {*network, *config})


def _ports(binds: _Binds, exposed: set[tuple[int, Protocol]], spelled: set[str]) -> Ports:
    return Ports(
        published=_published(binds),
        exposed=frozenset(exposed.difference(service[:2] for service in binds)),
        left_out=_left_out(spelled),
    )


def _bind(binds: _Binds, service: tuple[int, Protocol, int], one: Answer, key: str) -> None:
    """Note where a port is bound; what is bound to no address that is one can't be reached."""
    at = address(one, key) if one.get(key) else _ANYWHERE
    if at:
        binds.setdefault(service, set()).add(at)


def _published(binds: _Binds) -> tuple[PortMapping, ...]:
    """Put ports in order; IPv4 and IPv6 binds of one are one."""
    found = [(*service, at) for service, bound in binds.items() for at in widest(bound)]
    found.sort()
    return tuple(
        PortMapping(
            container_port=container_port,
            protocol=protocol,
            host_port=host_port,
            host_ip=at,
            source=PortSource.PUBLISHED,
        )
        for container_port, protocol, host_port, at in found
    )


def _port(spelled: str) -> tuple[int, Protocol] | None:
    """Read ``80/tcp`` or ``80``."""
    found = _SPELLED.fullmatch(spelled)
    protocol = _PROTOCOLS.get(found[2] or "tcp") if found else None
    if not found or not protocol or not 0 < int(found[1]) < _PORT_LIMIT:
        return None
    return int(found[1]), protocol


def _left_out(ports: set[str]) -> tuple[str, ...]:
    """Choose the ports that are spelled right, and of another protocol than ours."""
    found = [_SPELLED.fullmatch(port) for port in ports]
    return tuple(sorted(one[0] for one in found if one and (one[2] or "tcp") not in _PROTOCOLS))


def unpublished(
    published: tuple[PortMapping, ...], exposed: Exposed, metadata: KoiMetadata
) -> Iterator[PortMapping]:
    """Name what is to be reached at the container's own addresses, if anywhere.

    That is what its image exposes and what its owner spoke of, unless it is published.
    """
    seen = {(one.container_port, one.protocol) for one in published}
    for container_port, protocol in exposed - seen:
        yield PortMapping(
            container_port=container_port,
            protocol=protocol,
            host_port=0,
            host_ip="",
            source=PortSource.DECLARED,
        )
    for one in declared(metadata, seen | exposed):
        yield replace(one, host_port=0)


def named(metadata: KoiMetadata) -> Exposed:
    """Tell the ports that the owner spoke of."""
    return frozenset((one.container_port, one.protocol) for one in declared(metadata, set()))
