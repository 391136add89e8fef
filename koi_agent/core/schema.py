"""Instances as plain values, for whoever shows them: upstream's field names, nothing secret."""

from collections.abc import Sequence
from typing import Any

from koi_agent.core.instance import Instance, KoiMetadata, PortMapping, RecordStatus
from koi_agent.core.metadata import service_types
from koi_agent.core.plan.records import Decision

PLAIN = (
    "enable",
    "service_type",
    "name",
    "dns_name",
    "port",
    "health_path",
    "health_kind",
    "health_scheme",
    "health_interval",
    "health_timeout",
    "proxy_port",
    "proxy_remote",
    "certmesh",
    "source",
)
"""Fields of KoiMetadata whose values are plain."""


def metadata_of(metadata: KoiMetadata) -> dict[str, Any]:
    """Show metadata; what its owner did not say is left out."""
    shown: dict[str, Any] = {
        name: value for name in PLAIN if (value := getattr(metadata, name)) is not None
    }
    if metadata.enabled_by:
        shown["enabled_by"] = str(metadata.enabled_by)
    if metadata.subtypes:
        shown["subtypes"] = list(metadata.subtypes)
    if metadata.txt:
        shown["txt"] = dict(metadata.txt)
    if metadata.ports:
        shown["ports"] = {
            f"{port}/{protocol}": _without_nothing(
                {
                    "type": said.type,
                    "subtypes": list(said.subtypes or ()),
                    "name": said.name,
                    "txt": dict(said.txt),
                }
            )
            for (port, protocol), said in metadata.ports
        }
    return shown


def port_of(port: PortMapping, metadata: KoiMetadata) -> dict[str, Any]:
    """Show a port, with the service type it would be announced as."""
    return {
        "host_port": port.host_port,
        "container_port": port.container_port,
        "protocol": str(port.protocol),
        "host_ip": port.host_ip,
        "source": str(port.source),
        "type": service_types.resolve(port.container_port, port.protocol, metadata),
    }


def announcement_of(announcement: RecordStatus) -> dict[str, Any]:
    """Show what became of a record."""
    return {
        "capability": announcement.capability,
        "provider": announcement.provider,
        "name": announcement.name,
        "status": str(announcement.state),
        "reason": announcement.reason,
        "since": announcement.since,
    }


def explanation_of(instance: Instance, decisions: Sequence[Decision]) -> dict[str, Any]:
    """Say what is known of an instance's wishes, what became of each, and why."""
    metadata = instance.metadata
    enabled = metadata.enable is True
    return {
        "key": str(instance.key),
        "name": instance.name,
        "enabled": enabled,
        "enabled_by": str(metadata.enabled_by or ""),
        "reasons": [_why(metadata)],
        "metadata": metadata_of(metadata),
        "ports": [port_of(port, metadata) for port in instance.ports],
        "decisions": [
            {
                "capability": d.capability,
                "about": d.about,
                "outcome": str(d.state),
                "reason": d.reason,
            }
            for d in decisions
        ],
        "refused": [{"key": r.key, "reason": r.reason} for r in metadata.refused],
        "notes": list(instance.notes),
    }


def _why(metadata: KoiMetadata) -> str:
    by = metadata.enabled_by or "explicit"
    match metadata.enable:
        case True:
            return f"opted in ({by})"
        case False:
            return f"opted out ({by})"
        case None:
            return "not opted in: nothing says koi.enable=true or koi.announce="


def _without_nothing(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
