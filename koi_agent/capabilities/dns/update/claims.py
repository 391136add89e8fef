"""The claims of this outlet: nodes, each with the names of the PTR records that lead to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from koi_agent.capabilities.dns.claims import Claims, claims_file
from koi_agent.capabilities.dns.update.messages import is_name
from koi_agent.capabilities.dns.update.settings import UpdateSettings


def node_claims_file(settings: UpdateSettings, environment: Mapping[str, str]) -> Path:
    """Return the path of the file for a server and a zone."""
    server = f"{settings.server} {settings.zone}"
    return claims_file("update", server, settings.scope, environment)


def node_claims(path: Path, zone: str) -> Claims:
    """Return the nodes in a zone that are claimed in a file."""

    def is_in_zone(names: Sequence[str]) -> bool:
        return all(is_name(one) and one.endswith(f".{zone}.") for one in names)

    return Claims(path, is_in_zone)
