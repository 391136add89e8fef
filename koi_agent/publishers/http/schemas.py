"""What the JSON of each page looks like, as JSON Schema; nothing is there that is not named."""

from collections.abc import Mapping
from typing import Any

from koi_agent.core.events import BackendState
from koi_agent.core.instance import (
    CheckKind,
    EnabledBy,
    Health,
    InstanceState,
    PortSource,
    Protocol,
    RecordState,
)
from koi_agent.core.schema import PLAIN

TEXT: Mapping[str, Any] = {"type": "string"}
BOOLEAN: Mapping[str, Any] = {"type": "boolean"}
NUMBER: Mapping[str, Any] = {"type": "integer", "minimum": 0}
PORT: Mapping[str, Any] = {"type": "integer", "minimum": 0, "maximum": 65535}
TEXTS: Mapping[str, Any] = {"type": "array", "items": TEXT}
PAIRS: Mapping[str, Any] = {"type": "object", "additionalProperties": TEXT}
MOMENT: Mapping[str, Any] = {"type": "string", "format": "date-time"}
PERHAPS_MOMENT: Mapping[str, Any] = {"type": ["string", "null"], "format": "date-time"}

OPTIONAL = frozenset({"image", "project", "replica"})
"""What is left out where there is none; of metadata that is everything."""
METADATA_TYPES = {
    "enable": BOOLEAN,
    "port": PORT,
    "health_interval": NUMBER,
    "health_timeout": NUMBER,
    "proxy_port": PORT,
    "proxy_remote": BOOLEAN,
    "certmesh": BOOLEAN,
}


def _words(words: Any) -> dict[str, Any]:
    return {"type": "string", "enum": [str(word) for word in words]}


def _named(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _several(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _named(name)}


def _shape(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in OPTIONAL],
        "additionalProperties": False,
    }


def _all_optional(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


SCHEMAS: Mapping[str, Any] = {
    "Instance": _shape(
        id=TEXT,
        name=TEXT,
        ports=_several("Port"),
        ips=TEXTS,
        metadata=_named("Metadata"),
        backend=TEXT,
        state=_words(InstanceState),
        discovered_at=MOMENT,
        image=TEXT,
        key={"type": "string", "description": "backend:id, unique on this host"},
        state_detail=TEXT,
        health=_words(Health),
        health_detail=TEXT,
        unit=TEXT,
        control_group=TEXT,
        main_pid=NUMBER,
        invocation_id=TEXT,
        created_at=PERHAPS_MOMENT,
        stale=BOOLEAN,
        announcements=_several("Announcement"),
        project=TEXT,
        replica={**NUMBER, "description": "which of the many alike in a project, from 1"},
    ),
    "Announcement": _shape(
        capability=TEXT,
        provider=TEXT,
        name=TEXT,
        status=_words(RecordState),
        reason=TEXT,
        since=PERHAPS_MOMENT,
    ),
    "Port": _shape(
        host_port=PORT,
        container_port=PORT,
        protocol=_words(Protocol),
        host_ip=TEXT,
        source=_words(PortSource),
        type=TEXT,
    ),
    "Metadata": _all_optional(
        **{name: METADATA_TYPES.get(name, TEXT) for name in PLAIN},
        enabled_by=_words(EnabledBy),
        subtypes=TEXTS,
        txt=PAIRS,
        ports={"type": "object", "additionalProperties": _named("PortMetadata")},
    ),
    "PortMetadata": _all_optional(type=TEXT, subtypes=TEXTS, name=TEXT, txt=PAIRS),
    "Backend": _shape(
        name=TEXT,
        state=_words(BackendState),
        instances=NUMBER,
        endpoint=TEXT,
        runtime_version=TEXT,
        last_error=TEXT,
        reconnects=NUMBER,
        drift=NUMBER,
        last_sync=PERHAPS_MOMENT,
    ),
    "RuntimeStatus": _shape(
        active=BOOLEAN, backend={"type": ["string", "null"]}, instance_count=NUMBER
    ),
    "Event": _shape(event_v={"const": 1}, event_type=TEXT, id=TEXT, data={"type": "object"}),
    "HealthStatus": _shape(
        machines={"type": "array", "items": {"type": "object"}},
        services=_several("Service"),
        instances=_several("InstanceHealth"),
    ),
    "Service": _shape(
        name=TEXT,
        key=TEXT,
        kind=_words(CheckKind),
        target=TEXT,
        interval_secs=NUMBER,
        timeout_secs=NUMBER,
        status=_words(("up", "down", "unknown")),
        last_checked=PERHAPS_MOMENT,
        last_ok=PERHAPS_MOMENT,
        message=TEXT,
    ),
    "InstanceHealth": _shape(key=TEXT, name=TEXT, health=_words(Health), detail=TEXT),
    "Status": _shape(
        version=TEXT,
        platform=TEXT,
        uptime_secs=NUMBER,
        daemon=BOOLEAN,
        state=_words(("starting", "running", "degraded", "reloading", "stopping")),
        capabilities=_several("Capability"),
    ),
    "Capability": _shape(name=TEXT, summary=TEXT, healthy=BOOLEAN),
    "TargetGroup": _shape(targets=TEXTS, labels=PAIRS),
    "Health": _shape(status=_words(("ok", "degraded"))),
    "Error": _shape(error=TEXT, message=TEXT),
}
