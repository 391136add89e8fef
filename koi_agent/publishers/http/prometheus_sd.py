"""Scrape targets for Prometheus, in the format of its http_sd: instances that opted in."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from koi_agent.core.instance import Health, Instance, PortMapping, Protocol
from koi_agent.core.metadata import service_types
from koi_agent.publishers.http.response import Request

HEALTH_LABELS = {
    Health.HEALTHY: "up",
    Health.UNHEALTHY: "down",
    Health.STARTING: "unknown",
    Health.UNKNOWN: "unknown",
}
"""Upstream Koi's words for health; an instance without a check has no label."""


def groups(instances: Iterable[Instance], request: Request) -> Iterator[dict[str, Any]]:
    """Yield a target group for each instance that the client can reach over TCP.

    ``include=discovered`` adds instances that neither opted in nor out.
    """
    discovered = request.query.get("include", "").lower() == "discovered"
    for instance in instances:
        enable = instance.metadata.enable
        port = _port(instance) if enable or (discovered and enable is None) else None
        address = _address(instance, port, request) if port else ""
        if port and address:
            yield {"targets": [address], "labels": _labels(instance, port)}


def _port(instance: Instance) -> PortMapping | None:
    """Return the TCP port that the metadata names, or else the first."""
    ports = [port for port in instance.ports if port.protocol is Protocol.TCP]
    named = [port for port in ports if port.container_port == instance.metadata.port]
    return next(iter(named or ports), None)


def _address(instance: Instance, port: PortMapping, request: Request) -> str:
    """Return host and port for the client; "" if it cannot reach the port.

    A port that is not published is reached at the instance's own address.
    """
    if not port.host_port:
        return _join(instance.ips[0], port.container_port) if instance.ips else ""
    host = port.host_ip
    try:
        bound = ip_address(host or "0.0.0.0")  # noqa: S104 - compared, not bound
    except ValueError:
        return ""
    if bound.is_unspecified:
        host = request.host
    elif bound.is_loopback and not request.local:
        return ""
    return _join(host, port.host_port)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _labels(instance: Instance, port: PortMapping) -> dict[str, str]:
    metadata = instance.metadata
    labels = {
        "__meta_koi_name": metadata.name or instance.name,
        "__meta_koi_source": "runtime",
        "__meta_koi_service_type": service_types.resolve(
            port.container_port,
            port.protocol,
            metadata,
            service_types.http_port(instance.ports, metadata),
        ),
        "__meta_koi_backend": instance.backend,
        "__meta_koi_id": instance.id,
    }
    if instance.health in HEALTH_LABELS:
        labels["__meta_koi_health"] = HEALTH_LABELS[instance.health]
    if instance.unit:
        labels["__meta_koi_unit"] = instance.unit
    return labels
