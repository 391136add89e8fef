"""The filter of the engine's responses: the fields that the agent reads, and no others.

A response is built field by field from what is named here. So a container's environment, its
command line, its mounts, its labels except those for the agent, and what a later engine adds stay
behind the gate.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from koi_agent.host.engines import EVENTS, is_metadata_label, is_used_label
from koi_agent.services.gate.engine.requests import Endpoint
from koi_agent.services.gate.fields import (
    Filter,
    copy_fields,
    encode,
    list_of,
    map_of,
    object_of,
    scalar,
    strings,
)

VARIABLE: Final = "KOI_MDNS_ANNOUNCE="
"""The one variable of a container's environment that is for the agent."""
# Tuples, not sets: a foreign value may be a list, which has no hash.
_TYPES: Final = tuple(EVENTS["type"])
_ACTIONS: Final = tuple(EVENTS["event"])
_HEALTH_STATES: Final = ("starting", "healthy", "unhealthy")


def filter_response(endpoint: Endpoint, body: bytes) -> bytes:
    """Return what passes of a whole response; raise ``ValueError`` if it is not JSON."""
    match endpoint:
        case Endpoint.INSPECT:
            return encode(copy_fields(json.loads(body), _INSPECTION))
        case Endpoint.SERVICE:
            return encode(copy_fields(json.loads(body), _SERVICE))
        case Endpoint.IMAGE:
            return encode(copy_fields(json.loads(body), _IMAGE))
        case Endpoint.VERSION:
            return encode(copy_fields(json.loads(body), _VERSION))
        case _:
            return b'"OK"'


def filter_listed(container: object) -> bytes:
    """Return what passes of one element of a list."""
    return encode(copy_fields(container, _LISTED))


def filter_event(line: bytes) -> bytes:
    """Return what passes of an event, or nothing; a line that is not JSON becomes an empty one.

    An empty line means that some event was lost.
    """
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return b"\n"
    if not isinstance(event, dict) or event.get("Type") not in _TYPES:
        return b""
    action = _filter_action(event.get("Action") or event.get("status"))
    if not action:
        return b""
    return encode(copy_fields(event, _EVENT) | {"Action": action}) + b"\n"


def _filter_action(action: Any) -> str:
    """Return an action, with its detail only if that is a health state, not a command line."""
    word, _, detail = action.partition(":") if isinstance(action, str) else ("", "", "")
    if word not in _ACTIONS:
        return ""
    return f"{word}: {detail.strip()}" if detail.strip() in _HEALTH_STATES else str(word)


def _empty(_value: Any) -> Any:
    return {}


def _labels(value: Any) -> Any:
    """Copy the labels that the agent reads, with any values."""
    if not isinstance(value, dict):
        return None
    return {key: scalar(label) for key, label in value.items() if is_used_label(key)}


def _metadata_labels(value: Any) -> Any:
    """Copy the labels that are metadata; those of Compose and others are not."""
    labels = _labels(value)
    return labels and {key: label for key, label in labels.items() if is_metadata_label(key)}


def _health_state(value: Any) -> Any:
    return value if value in _HEALTH_STATES else None


def _environment(value: Any) -> Any:
    return [item for item in strings(value) or [] if item.startswith(VARIABLE)]


def _attributes(value: Any) -> Any:
    """Copy an event's attributes, among which are the container's labels."""
    if not isinstance(value, dict):
        return None
    return {k: scalar(item) for k, item in value.items() if k in _ATTRIBUTES or is_used_label(k)}


_ATTRIBUTES: Final = frozenset(
    {
        *("name", "image", "exitCode", "containerExitCode", "execDuration", "signal", "oldName"),
        *("container", "network", "type"),
    }
)
_ADDRESSES: Final = map_of(object_of(IPAddress=scalar, GlobalIPv6Address=scalar))
_BINDS: Final = map_of(list_of(HostIp=scalar, HostPort=scalar))
_VERSION: Final[Mapping[str, Filter]] = {
    "Version": scalar,
    "ApiVersion": scalar,
    "MinAPIVersion": scalar,
    "Components": list_of(Name=scalar),
}
_LISTED: Final[Mapping[str, Filter]] = {
    "Id": scalar,
    "Names": strings,
    "Image": scalar,
    "Created": scalar,
    "State": scalar,
    "Status": scalar,
    "Ports": list_of(IP=scalar, PrivatePort=scalar, PublicPort=scalar, Type=scalar),
    "Labels": _labels,
    "HostConfig": object_of(NetworkMode=scalar),
    "NetworkSettings": object_of(Networks=_ADDRESSES),
}
_HEALTH: Final = object_of(Status=scalar, Log=list_of(ExitCode=scalar))
_INSPECTION: Final[Mapping[str, Filter]] = {
    "Id": scalar,
    "Name": scalar,
    "Created": scalar,
    "Image": scalar,
    "ImageName": scalar,
    "RestartCount": scalar,
    "State": object_of(
        Status=scalar,
        Pid=scalar,
        StartedAt=scalar,
        ExitCode=scalar,
        CgroupPath=scalar,
        Health=_HEALTH,
        Healthcheck=_HEALTH,
    ),
    "Config": object_of(
        Image=scalar,
        Labels=_labels,
        Env=_environment,
        ExposedPorts=map_of(_empty),
        StopSignal=scalar,
    ),
    "HostConfig": object_of(
        NetworkMode=scalar, RestartPolicy=object_of(Name=scalar), PortBindings=_BINDS
    ),
    "NetworkSettings": object_of(Ports=_BINDS, Networks=_ADDRESSES),
}
_SERVICE: Final[Mapping[str, Filter]] = {
    "ID": scalar,
    "Endpoint": object_of(
        Ports=list_of(Protocol=scalar, TargetPort=scalar, PublishedPort=scalar, PublishMode=scalar)
    ),
}
_IMAGE: Final[Mapping[str, Filter]] = {
    "Config": object_of(Labels=_metadata_labels, Env=_environment),
}
_EVENT: Final[Mapping[str, Filter]] = {
    "Type": scalar,
    "timeNano": scalar,
    "HealthStatus": _health_state,
    "health_status": _health_state,
    "Actor": object_of(ID=scalar, Attributes=_attributes),
}
