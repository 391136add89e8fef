"""What of an engine's answers is handed on: what the agent reads, and nothing else.

An answer is copied field by field from what is named here; so the environment of a container, its
command line, its mounts, its labels but those that speak to us, and what a later engine adds, stay
behind the gate.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from koi_agent.gate.requests import Kind
from koi_agent.host.engines import EVENTS, is_used_label

VARIABLE: Final = "KOI_MDNS_ANNOUNCE="
"""The one variable of a container's environment that is for us."""
_TYPES: Final = tuple(EVENTS["type"])
_WORDS: Final = tuple(EVENTS["event"])
_HEALTHS: Final = ("starting", "healthy", "unhealthy")
# Looked for in tuples, as what is foreign may be a list, which no set can be asked for.

Take = Callable[[Any], Any]


def handed_on(kind: Kind, body: bytes) -> bytes:
    """Write what is handed on of a whole answer; raises ``ValueError`` where it can't be read."""
    match kind:
        case Kind.INSPECT:
            return _encoded(_pick(json.loads(body), _INSPECTED))
        case Kind.VERSION:
            return _encoded(_pick(json.loads(body), _VERSION))
        case Kind.INFO:
            return _encoded(_pick(json.loads(body), _INFO))
        case _:
            return b'"OK"'


def listed(record: object) -> bytes:
    """Write what is handed on of one element of a list."""
    return _encoded(_pick(record, _LISTED))


def event(line: bytes) -> bytes:
    """Write what is handed on of an event, or nothing; a line that is none is told of as empty."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return b"\n"
    if not isinstance(said, dict) or said.get("Type") not in _TYPES:
        return b""
    action = _action(said.get("Action") or said.get("status"))
    if not action:
        return b""
    return _encoded(_pick(said, _EVENT) | {"Action": action}) + b"\n"


def _action(said: Any) -> str:
    """Write an action anew: what stands behind its word may be a command line."""
    word, _, detail = said.partition(":") if isinstance(said, str) else ("", "", "")
    if word not in _WORDS:
        return ""
    return f"{word}: {detail.strip()}" if detail.strip() in _HEALTHS else str(word)


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _pick(said: Any, fields: Mapping[str, Take]) -> Any:
    """Copy the fields that are named, as far as they are there."""
    if not isinstance(said, dict):
        return None
    return {name: take(said[name]) for name, take in fields.items() if name in said}


def _plain(value: Any) -> Any:
    """Copy a text, a number or a truth."""
    return value if isinstance(value, str | int | float | bool) else None


def _texts(value: Any) -> Any:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else None


def _inner(**fields: Take) -> Take:
    return lambda value: _pick(value, fields)


def _several(**fields: Take) -> Take:
    """Copy a list of objects."""
    return lambda value: [_pick(one, fields) for one in value] if isinstance(value, list) else None


def _each(take: Take) -> Take:
    """Copy an object whose keys are names of networks or ports."""
    return lambda value: (
        {key: take(one) for key, one in value.items()} if isinstance(value, dict) else None
    )


def _nothing(_value: Any) -> Any:
    return {}


def _labels(value: Any) -> Any:
    """Copy the labels that speak to us, whatever their values are."""
    if not isinstance(value, dict):
        return None
    return {key: _plain(one) for key, one in value.items() if is_used_label(key)}


def _health_word(value: Any) -> Any:
    return value if value in _HEALTHS else None


def _environment(value: Any) -> Any:
    return [one for one in _texts(value) or [] if one.startswith(VARIABLE)]


def _attributes(value: Any) -> Any:
    """Copy what an event says of its actor, labels among it."""
    if not isinstance(value, dict):
        return None
    return {k: _plain(one) for k, one in value.items() if k in _ATTRIBUTES or is_used_label(k)}


_ATTRIBUTES: Final = frozenset(
    {
        *("name", "image", "exitCode", "containerExitCode", "execDuration", "signal", "oldName"),
        *("container", "network", "type"),
    }
)
_ADDRESSES: Final = _each(_inner(IPAddress=_plain, GlobalIPv6Address=_plain))
_VERSION: Final[Mapping[str, Take]] = {
    "Version": _plain,
    "ApiVersion": _plain,
    "MinAPIVersion": _plain,
    "Components": _several(Name=_plain),
}
_INFO: Final[Mapping[str, Take]] = {"CgroupDriver": _plain}
_LISTED: Final[Mapping[str, Take]] = {
    "Id": _plain,
    "Names": _texts,
    "Image": _plain,
    "Created": _plain,
    "State": _plain,
    "Status": _plain,
    "Ports": _several(IP=_plain, PrivatePort=_plain, PublicPort=_plain, Type=_plain),
    "Labels": _labels,
    "HostConfig": _inner(NetworkMode=_plain),
    "NetworkSettings": _inner(Networks=_ADDRESSES),
}
_HEALTH: Final = _inner(Status=_plain, Log=_several(ExitCode=_plain))
_INSPECTED: Final[Mapping[str, Take]] = {
    "Id": _plain,
    "Name": _plain,
    "Created": _plain,
    "ImageName": _plain,
    "RestartCount": _plain,
    "State": _inner(
        Status=_plain,
        Pid=_plain,
        StartedAt=_plain,
        CgroupPath=_plain,
        Health=_HEALTH,
        Healthcheck=_HEALTH,
    ),
    "Config": _inner(
        Image=_plain,
        Labels=_labels,
        Env=_environment,
        ExposedPorts=_each(_nothing),
        StopSignal=_plain,
    ),
    "HostConfig": _inner(
        NetworkMode=_plain, CgroupParent=_plain, RestartPolicy=_inner(Name=_plain)
    ),
    "NetworkSettings": _inner(
        Ports=_each(_several(HostIp=_plain, HostPort=_plain)), Networks=_ADDRESSES
    ),
}
_EVENT: Final[Mapping[str, Take]] = {
    "Type": _plain,
    "timeNano": _plain,
    "HealthStatus": _health_word,
    "health_status": _health_word,
    "Actor": _inner(ID=_plain, Attributes=_attributes),
}
