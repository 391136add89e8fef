"""Scrape targets for Prometheus, in the format of its http_sd: instances that opted in."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from koi_agent.core.instance import Health, Instance, Protocol
from koi_agent.core.metadata import service_types
from koi_agent.core.ports import own_way
from koi_agent.core.reach.addresses import parse
from koi_agent.core.reach.local import NotFromHere, Target, targets
from koi_agent.core.reach.model import places, reachability
from koi_agent.core.reach.network import HostNetwork
from koi_agent.publishers.http.response import Request

LOOPBACKS: Final = frozenset({"127.0.0.1", "::1"})
HEALTH_LABELS = {
    Health.HEALTHY: "up",
    Health.UNHEALTHY: "down",
    Health.STARTING: "unknown",
    Health.UNKNOWN: "unknown",
}
"""Upstream Koi's words for health; an instance without a check has no label."""


def groups(
    instances: Iterable[Instance], request: Request, network: HostNetwork
) -> Iterator[dict[str, Any]]:
    """Yield a target group for each instance that the client can reach over TCP.

    ``include=discovered`` adds instances that neither opted in nor out.
    """
    discovered = request.query.get("include", "").lower() == "discovered"
    for instance in instances:
        enable = instance.metadata.enable
        if not (enable or (discovered and enable is None)):
            continue
        near = _near if request.local else _far
        if (found := near(instance, request, network)) is not None:
            port, target = found
            yield {"targets": [target.text], "labels": _labels(instance, port)}


def _near(instance: Instance, request: Request, network: HostNetwork) -> tuple[int, Target] | None:
    """Return port and target for a client on this host, which also reaches containers."""
    own = (own_way(instance, port) for port in instance.ports)
    tcp = [port for port in own if port and port.protocol is Protocol.TCP]
    named = [port for port in tcp if port.container_port == instance.metadata.port]
    for mapping in named or tcp:
        with suppress(NotFromHere):
            for target in targets(instance, mapping, network):
                same_host = target.address in LOOPBACKS and request.host not in LOOPBACKS
                # Through its own address, so that the label "instance" is that of other clients.
                address = request.host if same_host else target.address
                return mapping.container_port, Target(address, target.port)
    return None


def _far(instance: Instance, request: Request, network: HostNetwork) -> tuple[int, Target] | None:
    """Return port and target for a client on another host, best on the network it came from."""
    for endpoint in reachability(instance, network).endpoints:
        if endpoint.protocol is not Protocol.TCP:
            continue
        if not endpoint.addresses and not endpoint.interfaces:
            return endpoint.inside, Target(request.host, endpoint.port)
        address = parse(request.host)
        link = network.with_address(address) if address else None
        found = list(places(endpoint, network))
        on_link = [place for place in found if link and place.interface == link.name]
        for place in on_link or found:
            return endpoint.inside, Target(place.address, place.port)
        for text in endpoint.addresses:
            return endpoint.inside, Target(text, endpoint.port)
    return None


def _labels(instance: Instance, port: int) -> dict[str, str]:
    metadata = instance.metadata
    labels = {
        "__meta_koi_name": metadata.name or instance.name,
        "__meta_koi_source": "runtime",
        "__meta_koi_service_type": service_types.resolve(
            port, Protocol.TCP, metadata, service_types.http_port(instance)
        ),
        "__meta_koi_backend": instance.backend,
        "__meta_koi_id": instance.id,
    }
    if instance.health in HEALTH_LABELS:
        labels["__meta_koi_health"] = HEALTH_LABELS[instance.health]
    if instance.unit:
        labels["__meta_koi_unit"] = instance.unit
    return labels
