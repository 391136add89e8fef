"""Scrape targets for Prometheus (its http_sd format), of instances that opted in."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from koi_agent.core.instance import Health, Instance, PortMapping, Protocol
from koi_agent.core.metadata import service_types
from koi_agent.publishers.http.response import Request

WORDS = {
    Health.HEALTHY: "up",
    Health.UNHEALTHY: "down",
    Health.STARTING: "unknown",
    Health.UNKNOWN: "unknown",
}
"""Upstream's words for health; nothing is said where nothing checks."""


def groups(instances: Iterable[Instance], asked: Request) -> Iterator[dict[str, Any]]:
    """Make a target group for each instance that this client can reach over TCP.

    ``include=discovered`` lists those too that did not opt in, unless they opted out.
    """
    every = asked.query.get("include", "").lower() == "discovered"
    for instance in instances:
        enable = instance.metadata.enable
        port = _port(instance) if enable or (every and enable is None) else None
        address = _address(instance, port, asked) if port else ""
        if port and address:
            yield {"targets": [address], "labels": _labels(instance, port)}


def _port(instance: Instance) -> PortMapping | None:
    """Choose the port its owner named, else the first."""
    ports = [port for port in instance.ports if port.protocol is Protocol.TCP]
    named = [port for port in ports if port.container_port == instance.metadata.port]
    return next(iter(named or ports), None)


def _address(instance: Instance, port: PortMapping, asked: Request) -> str:
    """Tell where a port answers: at the instance's own address if this host has no door to it."""
    if not port.host_port:
        return _joined(instance.ips[0], port.container_port) if instance.ips else ""
    host = port.host_ip
    try:
        bound = ip_address(host or "0.0.0.0")  # noqa: S104 - compared, not bound
    except ValueError:
        return ""
    if bound.is_unspecified:
        host = asked.host
    elif bound.is_loopback and not asked.local:
        return ""
    return _joined(host, port.host_port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _labels(instance: Instance, port: PortMapping) -> dict[str, str]:
    metadata = instance.metadata
    labels = {
        "__meta_koi_name": metadata.name or instance.name,
        "__meta_koi_source": "runtime",
        "__meta_koi_service_type": service_types.resolve(
            port.container_port, port.protocol, metadata
        ),
        "__meta_koi_backend": instance.backend,
        "__meta_koi_id": instance.id,
    }
    if instance.health in WORDS:
        labels["__meta_koi_health"] = WORDS[instance.health]
    if instance.unit:
        labels["__meta_koi_unit"] = instance.unit
    return labels
