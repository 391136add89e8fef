"""The filter of the engine's responses: the fields that the agent reads, and no others.

A response is built field by field from what is named here. So a container's environment, its
command line, its mounts, its labels except those for the agent, and what a later engine adds stay
behind the gate.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from koi_agent.gate.engine.requests import Endpoint
from koi_agent.host.engines import EVENTS, is_metadata_label, is_used_label

VARIABLE: Final = "KOI_MDNS_ANNOUNCE="
"""The one variable of a container's environment that is for the agent."""
# Tuples, not sets: a foreign value may be a list, which has no hash.
_TYPES: Final = tuple(EVENTS["type"])
_ACTIONS: Final = tuple(EVENTS["event"])
_HEALTH_STATES: Final = ("starting", "healthy", "unhealthy")

Filter = Callable[[Any], Any]


def filter_response(endpoint: Endpoint, body: bytes) -> bytes:
    """Return what passes of a whole response; raise ``ValueError`` if it is not JSON."""
    match endpoint:
        case Endpoint.INSPECT:
            return _encode(_copy_fields(json.loads(body), _INSPECTION))
        case Endpoint.SERVICE:
            return _encode(_copy_fields(json.loads(body), _SERVICE))
        case Endpoint.IMAGE:
            return _encode(_copy_fields(json.loads(body), _IMAGE))
        case Endpoint.VERSION:
            return _encode(_copy_fields(json.loads(body), _VERSION))
        case _:
            return b'"OK"'


def filter_listed(container: object) -> bytes:
    """Return what passes of one element of a list."""
    return _encode(_copy_fields(container, _LISTED))


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
    return _encode(_copy_fields(event, _EVENT) | {"Action": action}) + b"\n"


def _filter_action(action: Any) -> str:
    """Return an action with a health state at most: behind others stands a command line."""
    word, _, detail = action.partition(":") if isinstance(action, str) else ("", "", "")
    if word not in _ACTIONS:
        return ""
    return f"{word}: {detail.strip()}" if detail.strip() in _HEALTH_STATES else str(word)


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _copy_fields(value: Any, fields: Mapping[str, Filter]) -> Any:
    """Copy the named fields of an object that are there; anything else becomes None."""
    if not isinstance(value, dict):
        return None
    return {name: filter_(value[name]) for name, filter_ in fields.items() if name in value}


# Filters: each returns what passes of a value, and None for a value of another shape.


def _scalar(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else None


def _strings(value: Any) -> Any:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else None


def _object(**fields: Filter) -> Filter:
    return lambda value: _copy_fields(value, fields)


def _list_of(**fields: Filter) -> Filter:
    """Return a filter for a list of objects."""
    return lambda value: (
        [_copy_fields(item, fields) for item in value] if isinstance(value, list) else None
    )


def _map_of(filter_: Filter) -> Filter:
    """Return a filter for an object whose keys are names of networks or ports."""
    return lambda value: (
        {key: filter_(item) for key, item in value.items()} if isinstance(value, dict) else None
    )


def _empty(_value: Any) -> Any:
    return {}


def _labels(value: Any) -> Any:
    """Copy the labels that the agent reads, whatever their values are."""
    if not isinstance(value, dict):
        return None
    return {key: _scalar(label) for key, label in value.items() if is_used_label(key)}


def _metadata_labels(value: Any) -> Any:
    """Copy the labels that are metadata; those of Compose and others are not."""
    labels = _labels(value)
    return labels and {key: label for key, label in labels.items() if is_metadata_label(key)}


def _health_state(value: Any) -> Any:
    return value if value in _HEALTH_STATES else None


def _environment(value: Any) -> Any:
    return [item for item in _strings(value) or [] if item.startswith(VARIABLE)]


def _attributes(value: Any) -> Any:
    """Copy an event's attributes, among which are the container's labels."""
    if not isinstance(value, dict):
        return None
    return {k: _scalar(item) for k, item in value.items() if k in _ATTRIBUTES or is_used_label(k)}


_ATTRIBUTES: Final = frozenset(
    {
        *("name", "image", "exitCode", "containerExitCode", "execDuration", "signal", "oldName"),
        *("container", "network", "type"),
    }
)
_ADDRESSES: Final = _map_of(_object(IPAddress=_scalar, GlobalIPv6Address=_scalar))
_BINDS: Final = _map_of(_list_of(HostIp=_scalar, HostPort=_scalar))
_VERSION: Final[Mapping[str, Filter]] = {
    "Version": _scalar,
    "ApiVersion": _scalar,
    "MinAPIVersion": _scalar,
    "Components": _list_of(Name=_scalar),
}
_LISTED: Final[Mapping[str, Filter]] = {
    "Id": _scalar,
    "Names": _strings,
    "Image": _scalar,
    "Created": _scalar,
    "State": _scalar,
    "Status": _scalar,
    "Ports": _list_of(IP=_scalar, PrivatePort=_scalar, PublicPort=_scalar, Type=_scalar),
    "Labels": _labels,
    "HostConfig": _object(NetworkMode=_scalar),
    "NetworkSettings": _object(Networks=_ADDRESSES),
}
_HEALTH: Final = _object(Status=_scalar, Log=_list_of(ExitCode=_scalar))
_INSPECTION: Final[Mapping[str, Filter]] = {
    "Id": _scalar,
    "Name": _scalar,
    "Created": _scalar,
    "Image": _scalar,
    "ImageName": _scalar,
    "RestartCount": _scalar,
    "State": _object(
        Status=_scalar,
        Pid=_scalar,
        StartedAt=_scalar,
        ExitCode=_scalar,
        CgroupPath=_scalar,
        Health=_HEALTH,
        Healthcheck=_HEALTH,
    ),
    "Config": _object(
        Image=_scalar,
        Labels=_labels,
        Env=_environment,
        ExposedPorts=_map_of(_empty),
        StopSignal=_scalar,
    ),
    "HostConfig": _object(
        NetworkMode=_scalar, RestartPolicy=_object(Name=_scalar), PortBindings=_BINDS
    ),
    "NetworkSettings": _object(Ports=_BINDS, Networks=_ADDRESSES),
}
_SERVICE: Final[Mapping[str, Filter]] = {
    "ID": _scalar,
    "Endpoint": _object(
        Ports=_list_of(
            Protocol=_scalar, TargetPort=_scalar, PublishedPort=_scalar, PublishMode=_scalar
        )
    ),
}
_IMAGE: Final[Mapping[str, Filter]] = {
    "Config": _object(Labels=_metadata_labels, Env=_environment),
}
_EVENT: Final[Mapping[str, Filter]] = {
    "Type": _scalar,
    "timeNano": _scalar,
    "HealthStatus": _health_state,
    "health_status": _health_state,
    "Actor": _object(ID=_scalar, Attributes=_attributes),
}
