"""The explanation of an instance: what its metadata requests, and what the agent decided."""

from collections.abc import Sequence
from typing import Any, Final

from koi_agent.core.instance import Instance, KoiMetadata
from koi_agent.core.metadata.service_types import http_port
from koi_agent.core.plan.records import Decision
from koi_agent.core.reach.model import Endpoint, places, reachability
from koi_agent.core.reach.network import HostNetwork
from koi_agent.core.schema.dictionaries import METADATA, PORT, InstancePort

NO_ADDRESS: Final = "it has no address of the port's family"


def explanation_of(
    instance: Instance, decisions: Sequence[Decision], network: HostNetwork
) -> dict[str, Any]:
    """Return an explanation as values for JSON: each decision with its reason.

    ``network`` are the interfaces of this host, which decide from where a port is reached.
    """
    metadata = instance.metadata
    http = http_port(instance)
    ports = [PORT.values(InstancePort(port, metadata, http)) for port in instance.ports]
    enabled = metadata.enable is True
    reach = reachability(instance, network)
    return {
        "key": str(instance.key),
        "name": instance.name,
        "enabled": enabled,
        "enabled_by": str(metadata.enabled_by or ""),
        "opt_in": instance.traits.opt_in,
        "reasons": [_reason(metadata)],
        "metadata": METADATA.record(METADATA.values(metadata)),
        "ports": [PORT.record(port) for port in ports],
        "reachable": [
            _reachable(one, network)
            for one in (*reach.endpoints, *reach.others)
            if network.is_known
        ],
        "unreachable": [{"port": one.port, "reason": one.reason} for one in reach.unreachable],
        "decisions": [_decision(one) for one in decisions],
        "refused": [
            {"key": r.key, "reason": r.reason, "capability": r.capability, "part": r.part}
            for r in metadata.refused
        ],
        "notes": list(instance.notes),
    }


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "capability": decision.capability,
        "about": decision.about,
        "outcome": str(decision.state),
        "reason": decision.reason,
    }


def _reachable(endpoint: Endpoint, network: HostNetwork) -> dict[str, Any]:
    """Return from where other hosts reach an endpoint, and from which networks they do not."""
    found = list(places(endpoint, network))
    reached = {place.interface for place in found}
    return {
        "port": f"{endpoint.inside}/{endpoint.protocol}",
        "source": str(endpoint.source),
        "places": [place._asdict() for place in found],
        "not_on": [
            {"interface": link.name, "reason": endpoint.limit or NO_ADDRESS}
            for link in network.networks()
            if link.name not in reached
        ],
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
