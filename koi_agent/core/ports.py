"""Rules for ports: the binds of one port, declared ports, and the port that serves."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from koi_agent.core.instance import Instance, KoiMetadata, PortMapping, PortSource, Protocol

NOT_OPEN = (PortSource.DECLARED, PortSource.CLUSTER)
"""The sources of ports that do not show whether the instance itself listens."""
_SHARED = (PortSource.PUBLISHED, PortSource.EXTERNAL)
_V4, _V6 = "0.0.0.0", "::"  # noqa: S104 - compared, not bound


def merge_binds(mappings: Iterable[PortMapping]) -> Iterator[PortMapping]:
    """Yield each port of each interface once per address to which it is effectively bound.

    A wildcard includes the specific addresses of its family, and ``::`` includes IPv4 unless the
    socket is for IPv6 only. Sockets for all IPv4 and for all IPv6 addresses are one ``::``.
    """
    services: dict[tuple[int, Protocol, int, str], set[PortMapping]] = {}
    for mapping in mappings:
        service = mapping.container_port, mapping.protocol, mapping.host_port, mapping.interface
        services.setdefault(service, set()).add(mapping)
    for binds in services.values():
        yield from _widest(binds)


def _widest(binds: set[PortMapping]) -> Iterator[PortMapping]:
    by_address = {bind.host_ip: bind for bind in sorted(binds, key=lambda bind: bind.is_v6only)}
    v4, v6 = by_address.pop(_V4, None), by_address.pop(_V6, None)
    dual = next((bind for bind in binds if bind.host_ip == _V6 and not bind.is_v6only), None)
    if v4 and v6 and not dual:
        dual = replace(v6, is_v6only=False)
    if dual:
        yield dual
        return
    yield from filter(None, (v4, v6))
    for address, bind in by_address.items():
        if not (v6 if ":" in address else v4):
            yield bind


def with_sockets(
    own: Iterable[PortMapping], sockets: Iterable[PortMapping]
) -> tuple[PortMapping, ...]:
    """Return the sorted ports of an instance that also serves ``sockets``, passed to it open.

    A port that was only declared before listens then.
    """
    passed = set(sockets)
    services = {(port.container_port, port.protocol) for port in passed}
    open_ = (
        port
        for port in own
        if port.source is not PortSource.DECLARED
        or (port.container_port, port.protocol) not in services
    )
    return tuple(sorted({*open_, *passed}))


def with_declared(
    ports: Sequence[PortMapping], metadata: KoiMetadata, *, is_routable: bool
) -> tuple[PortMapping, ...]:
    """Return the sorted ports of an instance and those that its metadata names besides.

    If it ``is_routable``, it serves these at its own addresses.
    """
    seen = {(port.container_port, port.protocol) for port in ports}
    named = declared(metadata, seen)
    return tuple(
        sorted([*ports, *(replace(port, host_port=0) if is_routable else port for port in named)])
    )


def declared(metadata: KoiMetadata, seen: set[tuple[int, Protocol]]) -> Iterator[PortMapping]:
    """Yield the ports that metadata names and that are not in ``seen``.

    The protocol of ``metadata.port`` is UDP if the service type is, else TCP.
    """
    services = {service for service, _ in metadata.ports}
    named = {port for port, _ in services | seen}
    if metadata.port is not None and metadata.port not in named:
        is_udp = (metadata.service_type or "").endswith("._udp")
        services.add((metadata.port, Protocol.UDP if is_udp else Protocol.TCP))
    for port, protocol in services - seen:
        yield PortMapping(
            container_port=port,
            protocol=protocol,
            host_port=port,
            host_ip="",
            source=PortSource.DECLARED,
        )


def own_way(instance: Instance, port: PortMapping) -> PortMapping | None:
    """Return the port by which only this instance is reached, None without one.

    If it shares ports, a published one may lead to any instance of a service. Then its own address
    counts, if it has one. An address of a cluster always has a port of its own as well.
    """
    if port.source is PortSource.CLUSTER:
        return None
    is_shared = instance.traits.shares_ports and port.source in _SHARED
    if not is_shared:
        return port
    inside = replace(
        port, host_port=0, host_ip="", source=PortSource.DECLARED, is_v6only=False, interface=""
    )
    return inside if instance.ips else None


def serving_binds(instance: Instance) -> Sequence[PortMapping]:
    """Return the binds of the TCP port that serves, the best first; none without such a port.

    It is the port that metadata names, else the lowest open one, published ones first. Only this
    instance is reached by them.
    """
    wanted = instance.metadata.port
    ways = {
        port: way
        for port in instance.ports
        if port.protocol is Protocol.TCP
        and wanted in (None, port.container_port)
        and (way := own_way(instance, port))
    }
    if not ways:
        return ()
    ranked = sorted(ways, key=_order)
    service = ranked[0].container_port, ranked[0].source
    binds = (ways[one] for one in ranked if (one.container_port, one.source) == service)
    return tuple(dict.fromkeys(binds))


def _order(mapping: PortMapping) -> tuple[bool, bool, int, bool, str]:
    """Rank ports: open ones first, then published, then the lowest, then IPv4."""
    mapped = mapping.host_port
    is_declared = mapping.source is PortSource.DECLARED
    v6 = ":" in mapping.host_ip
    return not mapped, is_declared, mapping.container_port, v6, mapping.host_ip
