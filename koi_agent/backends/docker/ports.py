"""Which ports a container has: those its engine publishes, and those its image only names."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from koi_agent.backends.docker.answers import Answer, number, objects, text
from koi_agent.core.instance import KoiMetadata, PortMapping, PortSource, Protocol
from koi_agent.core.ports import declared, one_each

Exposed = frozenset[tuple[int, Protocol]]

_PORT_LIMIT: Final = 65536
_ANYWHERE: Final = "0.0.0.0"  # noqa: S104 - compared, not bound
_SPELLED: Final = re.compile(r"([0-9]{1,5})(?:/(tcp|udp))?")
_PROTOCOLS: Final = {"tcp": Protocol.TCP, "udp": Protocol.UDP, "": Protocol.TCP}


def listed_ports(said: Answer) -> tuple[tuple[PortMapping, ...], Exposed]:
    """Read ``Ports`` of a list's answer: what is published, and what is only exposed."""
    published: list[PortMapping] = []
    exposed: set[tuple[int, Protocol]] = set()
    for one in objects(said, "Ports"):
        protocol = _PROTOCOLS.get(text(one, "Type"))
        container_port = number(one, "PrivatePort", _PORT_LIMIT)
        host_port = number(one, "PublicPort", _PORT_LIMIT)
        if protocol is None or not container_port:
            continue
        if host_port:
            published.append(_published(container_port, protocol, host_port, text(one, "IP")))
        else:
            exposed.add((container_port, protocol))
    return _sorted(published), frozenset(exposed)


def inspected_ports(said: Answer) -> tuple[PortMapping, ...]:
    """Read ``NetworkSettings.Ports`` of an inspection."""
    published: list[PortMapping] = []
    for spelled, binds in said.items():
        port = _port(spelled)
        for bind in objects({"": binds}, ""):
            host_port = text(bind, "HostPort")
            if port and _SPELLED.fullmatch(host_port) and 0 < int(host_port) < _PORT_LIMIT:
                published.append(_published(*port, int(host_port), text(bind, "HostIp")))
    return _sorted(published)


def exposed_ports(said: Mapping[str, Any]) -> Exposed:
    """Read ``Config.ExposedPorts``."""
    return frozenset(port for spelled in said if (port := _port(spelled)))


def _port(spelled: str) -> tuple[int, Protocol] | None:
    found = _SPELLED.fullmatch(spelled)
    if not found or not 0 < int(found[1]) < _PORT_LIMIT:
        return None
    return int(found[1]), _PROTOCOLS[found[2] or ""]


def _published(container_port: int, protocol: Protocol, host_port: int, ip: str) -> PortMapping:
    return PortMapping(
        container_port=container_port,
        protocol=protocol,
        host_port=host_port,
        host_ip=ip or _ANYWHERE,
        source=PortSource.PUBLISHED,
    )


def _sorted(published: Iterable[PortMapping]) -> tuple[PortMapping, ...]:
    """Put ports in order; IPv4 and IPv6 binds of one are one."""
    services: dict[tuple[int, int, Protocol], list[PortMapping]] = {}
    for one in published:
        service = one.host_port, one.container_port, one.protocol
        services.setdefault(service, []).append(one)
    return tuple(sorted({one for binds in services.values() for one in one_each(binds)}))


def unpublished(
    published: Iterable[PortMapping], exposed: Exposed, metadata: KoiMetadata
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
