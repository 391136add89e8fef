"""Ports as all runtimes have them: one service for each, and those that only metadata names."""

from collections.abc import Iterable, Iterator, Set

from koi_agent.core.instance import KoiMetadata, PortMapping, PortSource, Protocol

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared, not bound


def one_each(mappings: Iterable[PortMapping]) -> Iterator[PortMapping]:
    """Make one service of the IPv4 and IPv6 binds of a port."""
    services: dict[tuple[int, Protocol], set[PortMapping]] = {}
    for mapping in mappings:
        services.setdefault((mapping.container_port, mapping.protocol), set()).add(mapping)
    for binds in services.values():
        kept = widest({bind.host_ip for bind in binds})
        yield from (bind for bind in binds if bind.host_ip in kept)


def widest(addresses: Set[str]) -> Set[str]:
    """Choose, of the addresses that one port is bound to, those that say where it is.

    A wildcard beats every specific address, and there is one wildcard: ``::`` as soon as it is
    bound, which on Linux means both families (the rare socket that is IPv6 only gets no other
    name, for a port has one), else ``0.0.0.0``. Specific addresses stay apart.
    """
    return {max(wildcards)} if (wildcards := addresses & _WILDCARDS) else addresses


def declared(metadata: KoiMetadata, seen: set[tuple[int, Protocol]]) -> Iterator[PortMapping]:
    """Name what the owner spoke of and nothing shows; TCP unless a service type says UDP."""
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
