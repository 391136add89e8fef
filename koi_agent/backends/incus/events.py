"""Lifecycle events of Incus and LXD, parsed."""

import json
import re
from typing import Final
from urllib.parse import parse_qs, unquote

from koi_agent.backends.http_engine.json_fields import as_object, get_object, get_str
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.host.incus import (
    INSTANCE_ACTIONS,
    NETWORK_ACTIONS,
    is_instance_name,
    is_project_name,
)

_SOURCE: Final = re.compile(r"/1\.0/(?:instances|containers|virtual-machines)/([^/?]+)(?:\?(.*))?")


@frozen(kw_only=True)
class Event:
    """An event of an instance; ``old_name`` is set by a change of its name."""

    action: str
    project: str
    name: str
    old_name: str = ""

    @property
    def id(self) -> str:
        """Return the id of the instance."""
        return f"{self.project}/{self.name}"

    @property
    def old_id(self) -> str:
        """Return the id that the instance had before, "" if it has the same."""
        return f"{self.project}/{self.old_name}" if self.old_name else ""


class NetworkChanged:
    """An event of a network: the ports of any instance may have changed."""


NETWORK_CHANGED: Final = NetworkChanged()


def parse_event(message: bytes) -> Event | NetworkChanged | None:
    """Parse an event; return None for one that is not used. Raises ``BadInput``."""
    try:
        record = as_object(json.loads(message))
    except (ValueError, RecursionError) as error:
        raise BadInput("not JSON") from error
    metadata = get_object(record, "metadata")
    action = get_str(metadata, "action")
    if get_str(record, "type") != "lifecycle":
        return None
    if action in NETWORK_ACTIONS:
        return NETWORK_CHANGED
    if action not in INSTANCE_ACTIONS:
        return None
    name, project = _parse_source(get_str(metadata, "source"))
    # LXD and older versions of Incus name the project in the source, and only if it is not default.
    project = project or get_str(record, "project") or "default"
    old_name = get_str(get_object(metadata, "context"), "old_name")
    if not is_project_name(project):
        raise BadInput("not the name of a project")
    return Event(
        action=action,
        project=project,
        name=name,
        old_name=old_name if is_instance_name(old_name) else "",
    )


def _parse_source(source: str) -> tuple[str, str]:
    """Return the name and the project, "" if it is not named. Raises ``BadInput``."""
    found = _SOURCE.fullmatch(source)
    name = unquote(found[1]) if found else ""
    if not found or not is_instance_name(name):
        raise BadInput("its source is not an instance")
    return name, parse_qs(found[2] or "").get("project", [""])[0]
