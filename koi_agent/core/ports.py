"""Rules for ports that all backends share: binds of one port, and ports that metadata declares."""

from collections.abc import Iterable, Iterator, Set

from koi_agent.core.instance import KoiMetadata, PortMapping, PortSource, Protocol

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared, not bound


def merge_binds(mappings: Iterable[PortMapping]) -> Iterator[PortMapping]:
    """Yield each port once per address to which it is effectively bound (see ``widest``)."""
    services: dict[tuple[int, Protocol], set[PortMapping]] = {}
    for mapping in mappings:
        services.setdefault((mapping.container_port, mapping.protocol), set()).add(mapping)
    for binds in services.values():
        kept = widest({bind.host_ip for bind in binds})
        yield from (bind for bind in binds if bind.host_ip in kept)


def widest(addresses: Set[str]) -> Set[str]:
    """Return the addresses that matter of those to which one port is bound.

    A wildcard includes all specific addresses, and ``::`` includes ``0.0.0.0``: on Linux it means
    both families. The exception, a socket for IPv6 only, is not distinguished. Without a wildcard,
    all addresses are returned.
    """
    return {max(wildcards)} if (wildcards := addresses & _WILDCARDS) else addresses


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
