"""The services of a swarm: which ports its hosts publish for them.

A port that a service publishes by ingress is open on every host of the swarm, for all tasks. It is
in the service and not in its containers. Only managers of the swarm know the services.
"""

from collections.abc import Awaitable, Callable, Iterator

from koi_agent.backends.docker.ports import PORT_LIMIT, PROTOCOLS
from koi_agent.backends.http_engine.client import RequestRefused
from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    as_object,
    get_int,
    get_object,
    get_objects,
    get_str,
)
from koi_agent.core.instance import PortMapping, PortSource

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - compared, not bound


class Services:
    """The published ports of services by their ids; ``inspect`` requests one service."""

    def __init__(self, inspect: Callable[[str], Awaitable[object]]) -> None:
        self._inspect = inspect
        self._ports: dict[str, tuple[PortMapping, ...]] = {}
        self._requested: dict[str, object] = {}  # the last request of each, to tell late answers

    async def ports_of(self, id_: str) -> tuple[PortMapping, ...]:
        """Return the ports of a service; raise ``BadInput`` or ``BackendLost``.

        A service is requested once, until it is outdated. Without an id there are no ports.
        """
        if not id_ or id_ in self._ports:
            return self._ports.get(id_, ())
        request = self._requested[id_] = object()
        try:
            record = as_object(await self._inspect(id_))
        except RequestRefused:  # only managers of the swarm answer
            record = {}
        ports = ingress_ports(record)
        if self._requested.get(id_) is request:  # otherwise, it was outdated or requested again
            self._ports[id_] = ports
        return ports

    def outdate(self, id_: str) -> None:
        """Forget the ports of a service that has changed."""
        self._ports.pop(id_, None)
        self._requested.pop(id_, None)

    def clear(self) -> None:
        """Forget all ports: events may be lost."""
        self._ports.clear()
        self._requested.clear()


def ingress_ports(record: JSONObject) -> tuple[PortMapping, ...]:
    """Return the sorted ports that a service publishes on each host; Docker's are for IPv4."""
    return tuple(sorted(set(_ingress_ports(record))))


def _ingress_ports(record: JSONObject) -> Iterator[PortMapping]:
    for port in get_objects(get_object(record, "Endpoint"), "Ports"):
        container_port = get_int(port, "TargetPort", PORT_LIMIT)
        host_port = get_int(port, "PublishedPort", PORT_LIMIT)
        protocol = PROTOCOLS.get(get_str(port, "Protocol"))
        is_ingress = get_str(port, "PublishMode") == "ingress"
        if is_ingress and protocol and container_port and host_port:
            yield PortMapping(
                container_port=container_port,
                protocol=protocol,
                host_port=host_port,
                host_ip=ANY_ADDRESS,
                source=PortSource.PUBLISHED,
            )
