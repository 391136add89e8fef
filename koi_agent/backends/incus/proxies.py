"""The ports that proxy devices publish on this host.

A device listens on an address of the host and connects to one in the instance. Both sides may name
several ports and ranges of ports, such as ``tcp:0.0.0.0:80,8000-8010``.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from koi_agent.backends.http_engine.json_fields import JSONObject, get_ip, get_object, get_str
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import PortMapping, PortSource, Protocol

MAX_PORTS: Final = 1000
"""Maximum number of published ports of an instance, and of one side of a device."""
_PORT_LIMIT: Final = 65536
_SIDE: Final = re.compile(r"(tcp|udp):(\[[0-9A-Fa-f:.]+\]|[0-9.]+):([0-9,-]+)")
_RANGE: Final = re.compile("([0-9]{1,5})(?:-([0-9]{1,5}))?")
_ON_HOST: Final = ("", "host")
"""Where a device listens on this host; any other place is in the instance."""
_ANY: Final = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


@frozen(kw_only=True)
class _Side:
    """One side of a device: protocol, address and ports in the order of the device."""

    protocol: Protocol
    address: str
    ports: tuple[int, ...]


def proxy_ports(record: JSONObject) -> Iterator[PortMapping]:
    """Yield the ports that the proxy devices of an instance publish."""
    devices = get_object(record, "expanded_devices")
    for name in devices:
        device = get_object(devices, name)
        if get_str(device, "type") == "proxy" and get_str(device, "bind") in _ON_HOST:
            yield from _published(device)


def _published(device: JSONObject) -> Iterator[PortMapping]:
    listen = _parse_side(get_str(device, "listen"))
    if listen is None:
        return  # a Unix socket, or something that no server accepts
    connect = _parse_side(get_str(device, "connect"))
    inside = connect.ports if connect else listen.ports
    if len(inside) == 1:  # all ports of the host lead to one
        inside *= len(listen.ports)
    for host_port, port in zip(listen.ports, inside, strict=False):
        yield PortMapping(
            container_port=port,
            protocol=listen.protocol,
            host_port=host_port,
            # The server is written in Go, which listens on all addresses of both families.
            host_ip="::" if listen.address in _ANY else listen.address,
            source=PortSource.PUBLISHED,
        )


def _parse_side(text: str) -> _Side | None:
    """Parse ``tcp:ADDRESS:PORTS``; return None for anything else, such as a Unix socket."""
    found = _SIDE.fullmatch(text)
    address = get_ip({"address": found[2].strip("[]")}, "address") if found else ""
    ports = tuple(islice(parse_ports(found[3]), MAX_PORTS)) if found else ()
    if not found or not address or not ports:
        return None
    return _Side(protocol=Protocol(found[1]), address=address, ports=ports)


def parse_ports(text: str) -> Iterator[int]:
    """Yield the ports of a list of ports and ranges; parts that are not valid are skipped."""
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if not found:
            continue
        first, last = int(found[1]), int(found[2] or found[1])
        if 0 < first <= last < _PORT_LIMIT:
            yield from range(first, last + 1)
