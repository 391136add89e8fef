"""The ports of a container: those that its engine publishes, and those that its image exposes."""

import re
from collections.abc import Iterator
from dataclasses import replace
from sys import intern
from typing import Final

from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    get_int,
    get_ip,
    get_objects,
    get_str,
)
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import KoiMetadata, PortMapping, PortSource, Protocol
from koi_agent.core.ports import declared, merge_binds

PortSet = frozenset[tuple[int, Protocol]]

NO_PORTS: Final[PortSet] = frozenset()
PORT_LIMIT: Final = 65536
_ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - compared, not bound
_ANY_V6_ADDRESS: Final = "::"
_PORT: Final = re.compile("([0-9]{1,5})(?:/([a-z0-9]{1,12}))?")
PROTOCOLS: Final = {"tcp": Protocol.TCP, "udp": Protocol.UDP}

# Addresses by (container port, protocol, host port).
_Binds = dict[tuple[int, Protocol, int], set[str]]


@frozen(kw_only=True)
class Ports:
    """The ports in one response.

    ``published`` are sorted, ``exposed`` are those that are not published. ``unsupported`` have
    protocols that nothing here can announce, written as ``5000/sctp``.
    """

    published: tuple[PortMapping, ...]
    exposed: PortSet
    unsupported: tuple[str, ...]


def ports_from_list(record: JSONObject) -> Ports:
    """Parse ``Ports`` of a list's record. They come in any order."""
    binds: _Binds = {}
    exposed: set[tuple[int, Protocol]] = set()
    others: set[str] = set()
    for port in get_objects(record, "Ports"):
        container_port = get_int(port, "PrivatePort", PORT_LIMIT)
        host_port = get_int(port, "PublicPort", PORT_LIMIT)
        protocol = PROTOCOLS.get(get_str(port, "Type"))
        if protocol is None:
            others.add(f"{container_port}/{get_str(port, 'Type')}")
        elif container_port and host_port:
            _add_bind(binds, (container_port, protocol, host_port), port, "IP")
        elif container_port:
            exposed.add((container_port, protocol))
    return _ports(binds, exposed, others)


def ports_from_inspection(network: JSONObject, exposed_ports: JSONObject) -> Ports:
    """Parse ``Ports`` of an inspection's network, and ``ExposedPorts`` of its configuration."""
    binds: _Binds = {}
    for text in network:
        port = _parse_port(text)
        for bind in get_objects(network, text):
            host_port = _parse_port(get_str(bind, "HostPort"))
            if port and host_port:
                _add_bind(binds, (*port, host_port[0]), bind, "HostIp")
    exposed = {port for text in exposed_ports if (port := _parse_port(text))}
    return _ports(binds, exposed, {*network, *exposed_ports})


def _ports(binds: _Binds, exposed: set[tuple[int, Protocol]], texts: set[str]) -> Ports:
    return Ports(
        published=_published(binds),
        # Python makes a new object for each empty set, of 216 bytes.
        exposed=frozenset(exposed.difference(service[:2] for service in binds)) or NO_PORTS,
        unsupported=_unsupported(texts),
    )


def _add_bind(
    binds: _Binds, service: tuple[int, Protocol, int], bind: JSONObject, key: str
) -> None:
    """Add where a port is bound; a bind to something that is not an address can't be reached."""
    address = get_ip(bind, key) if bind.get(key) else _ANY_ADDRESS
    if address:
        binds.setdefault(service, set()).add(intern(address))  # thousands of ports share one


def _published(binds: _Binds) -> tuple[PortMapping, ...]:
    """Return sorted mappings; binds of one port to all IPv4 and all IPv6 addresses are one.

    An engine binds ``::`` for IPv6 only: it publishes IPv4 by a bind of its own.
    """
    found = (
        PortMapping(
            container_port=container_port,
            protocol=protocol,
            host_port=host_port,
            host_ip=address,
            source=PortSource.PUBLISHED,
            is_v6only=address == _ANY_V6_ADDRESS,
        )
        for (container_port, protocol, host_port), bound in binds.items()
        for address in bound
    )
    return tuple(sorted(merge_binds(found)))


def _parse_port(text: str) -> tuple[int, Protocol] | None:
    """Parse ``80/tcp`` or ``80``."""
    found = _PORT.fullmatch(text)
    protocol = PROTOCOLS.get(found[2] or "tcp") if found else None
    if not found or not protocol or not 0 < int(found[1]) < PORT_LIMIT:
        return None
    return int(found[1]), protocol


def _unsupported(texts: set[str]) -> tuple[str, ...]:
    """Return the well-formed ports with another protocol than TCP and UDP."""
    found = [_PORT.fullmatch(text) for text in texts]
    return tuple(sorted(one[0] for one in found if one and (one[2] or "tcp") not in PROTOCOLS))


def unpublished(
    published: tuple[PortMapping, ...], exposed: PortSet, metadata: KoiMetadata
) -> Iterator[PortMapping]:
    """Yield the ports that are reached at the container's own addresses, if at all.

    These are the exposed ports and those named in metadata, without the published ones.
    """
    seen = {(port.container_port, port.protocol) for port in published}
    for container_port, protocol in exposed - seen:
        yield PortMapping(
            container_port=container_port,
            protocol=protocol,
            host_port=0,
            host_ip="",
            source=PortSource.DECLARED,
        )
    for port in declared(metadata, seen | exposed):
        yield replace(port, host_port=0)


def ports_in_metadata(metadata: KoiMetadata) -> PortSet:
    """Return the ports that metadata names."""
    return frozenset((port.container_port, port.protocol) for port in declared(metadata, set()))
