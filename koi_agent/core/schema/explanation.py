"""The explanation of an instance: what its metadata requests, and what the agent decided."""

from collections.abc import Sequence
from typing import Any

from koi_agent.core.instance import Instance, KoiMetadata
from koi_agent.core.metadata.service_types import http_port
from koi_agent.core.plan.records import Decision
from koi_agent.core.schema.dictionaries import METADATA, PORT, InstancePort


def explanation_of(instance: Instance, decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return an explanation as values for JSON: each decision with its reason."""
    metadata = instance.metadata
    http = http_port(instance.ports, metadata)
    ports = [PORT.values(InstancePort(port, metadata, http)) for port in instance.ports]
    enabled = metadata.enable is True
    return {
        "key": str(instance.key),
        "name": instance.name,
        "enabled": enabled,
        "enabled_by": str(metadata.enabled_by or ""),
        "opt_in": instance.traits.opt_in,
        "reasons": [_reason(metadata)],
        "metadata": METADATA.record(METADATA.values(metadata)),
        "ports": [PORT.record(port) for port in ports],
        "decisions": [
            {
                "capability": d.capability,
                "about": d.about,
                "outcome": str(d.state),
                "reason": d.reason,
            }
            for d in decisions
        ],
        "refused": [
            {"key": r.key, "reason": r.reason, "capability": r.capability} for r in metadata.refused
        ],
        "notes": list(instance.notes),
    }


def _reason(metadata: KoiMetadata) -> str:
    by = metadata.enabled_by or "explicit"
    match metadata.enable:
        case True:
            return f"opted in ({by})"
        case False:
            return f"opted out ({by})"
        case None:
            return "not opted in: nothing says koi.enable=true or koi.announce="
