"""The ports that managed networks forward to instances, on addresses of their own.

A network forward leads ports of an address to addresses of instances. It may also lead all other
ports to one address. A load balancer of OVN spreads a port over several backends.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from itertools import islice
from typing import Final

from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    get_ip,
    get_object,
    get_objects,
    get_str,
    get_strs,
)
from koi_agent.backends.incus.proxies import MAX_PORTS, parse_ports
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import PortMapping, PortSource, Protocol

_PROTOCOLS: Final = {"tcp": Protocol.TCP, "udp": Protocol.UDP}


@frozen(kw_only=True)
class Forwards:
    """Forwarded ports by the address that they lead to.

    ``whole`` has the addresses of which all ports lead to an address.
    """

    ports: Mapping[str, tuple[PortMapping, ...]] = field(default_factory=dict)
    whole: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def ports_to(
        self, addresses: Iterable[str], declared: Iterable[PortMapping]
    ) -> Iterator[PortMapping]:
        """Yield the ports that lead to one of some addresses.

        ``declared`` are the ports that metadata names. An address that is forwarded as a whole
        publishes these.
        """
        declared = list(declared)
        for address in addresses:
            yield from self.ports.get(address, ())
            for listen in self.whole.get(address, ()):
                for port in declared:
                    number = port.container_port
                    yield _published(port.protocol, listen, number, number)


class ForwardsBuilder:
    """Collects the forwards and the load balancers of all networks.

    Of the ports that lead to one address, it keeps one more than ``MAX_PORTS``.
    """

    def __init__(self) -> None:
        self._ports: dict[str, list[PortMapping]] = {}
        self._whole: dict[str, list[str]] = {}

    def add_forward(self, record: JSONObject) -> None:
        """Add a network forward; parts that are not valid are skipped."""
        listen = get_ip(record, "listen_address")
        if not listen:
            return
        if target := get_ip(get_object(record, "config"), "target_address"):
            self._whole.setdefault(target, []).append(listen)
        for port in get_objects(record, "ports"):
            self._add(listen, port, get_ip(port, "target_address"), get_str(port, "target_port"))

    def add_load_balancer(self, record: JSONObject) -> None:
        """Add a load balancer; parts that are not valid are skipped."""
        listen = get_ip(record, "listen_address")
        backends = {get_str(one, "name"): one for one in get_objects(record, "backends")}
        for port in get_objects(record, "ports") if listen else ():
            for name in get_strs(port, "target_backend"):
                backend = backends.get(name, {})
                target = get_ip(backend, "target_address")
                self._add(listen, port, target, get_str(backend, "target_port"))

    def _add(self, listen: str, port: JSONObject, target: str, target_port: str) -> None:
        protocol = _PROTOCOLS.get(get_str(port, "protocol"))
        if not (protocol and target):
            return
        known = self._ports.setdefault(target, [])
        room = min(MAX_PORTS, MAX_PORTS + 1 - len(known))
        if not room:
            return
        outside = list(islice(parse_ports(get_str(port, "listen_port")), room))
        inside = list(islice(parse_ports(target_port), MAX_PORTS)) or outside
        if len(inside) == 1:
            inside *= len(outside)
        pairs = zip(outside, inside, strict=False)
        known.extend(_published(protocol, listen, host, port) for host, port in pairs)

    def built(self) -> Forwards:
        """Return what was added."""
        return Forwards(
            ports={target: tuple(found) for target, found in self._ports.items()},
            whole={target: tuple(found) for target, found in self._whole.items()},
        )


def _published(protocol: Protocol, listen: str, host_port: int, port: int) -> PortMapping:
    return PortMapping(
        container_port=port,
        protocol=protocol,
        host_port=host_port,
        host_ip=listen,
        source=PortSource.PUBLISHED,
    )
