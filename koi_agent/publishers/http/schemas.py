"""The JSON Schema of each answer; it has no property that is not named here."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from koi_agent.core.instance import CheckKind, Health
from koi_agent.core.schema.backend import BACKEND_PROPERTIES
from koi_agent.core.schema.dictionaries import ANNOUNCEMENT, METADATA, PORT, PORT_METADATA
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.core.schema.tables import Schema, Table, Type
from koi_agent.core.schema.types import BOOLEAN, NUMBER, PAIRS, TEXT, TEXT_OR_NULL, TEXTS, TIME

TABLES: Final[tuple[Table[Any], ...]] = (
    INSTANCE_PROPERTIES,
    PORT,
    METADATA,
    PORT_METADATA,
    ANNOUNCEMENT,
    BACKEND_PROPERTIES,
)


def reference(name: str) -> Schema:
    """Return a reference to a schema of ``SCHEMAS``."""
    return {"$ref": f"#/components/schemas/{name}"}


def array_of(name: str) -> Schema:
    """Return the schema of an array of what a schema of ``SCHEMAS`` describes."""
    return {"type": "array", "items": reference(name)}


def _enumeration(words: Iterable[str]) -> Schema:
    return {"type": "string", "enum": [str(word) for word in words]}


def _object(**properties: Type | Schema) -> Schema:
    schemas = {
        key: kind.schema if isinstance(kind, Type) else kind for key, kind in properties.items()
    }
    return {
        "type": "object",
        "properties": schemas,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMAS: Final[Mapping[str, Schema]] = {
    **{table.name: table.schema() for table in TABLES},
    "Index": _object(name=TEXT, version=TEXT, paths=PAIRS),
    "RuntimeStatus": _object(active=BOOLEAN, backend=TEXT_OR_NULL, instance_count=NUMBER.schema),
    "Event": _object(event_v={"const": 1}, event_type=TEXT, id=TEXT, data={"type": "object"}),
    "HealthStatus": _object(
        machines={"type": "array", "items": {"type": "object"}},
        services=array_of("Service"),
        instances=array_of("InstanceHealth"),
    ),
    "Service": _object(
        name=TEXT,
        key=TEXT,
        kind=_enumeration(CheckKind),
        target=TEXT,
        interval_secs=NUMBER,
        timeout_secs=NUMBER,
        status=_enumeration(("up", "down", "unknown")),
        last_checked=TIME,
        last_ok=TIME,
        message=TEXT,
    ),
    "InstanceHealth": _object(
        key=TEXT, name=TEXT, health=_enumeration(Health), detail=TEXT_OR_NULL.schema
    ),
    "Status": _object(
        version=TEXT,
        platform=TEXT,
        uptime_secs=NUMBER,
        daemon=BOOLEAN,
        state=_enumeration(("starting", "running", "degraded", "reloading", "stopping")),
        capabilities=array_of("Capability"),
    ),
    "Capability": _object(name=TEXT, summary=TEXT, healthy=BOOLEAN),
    "TargetGroup": _object(targets=TEXTS, labels=PAIRS),
    "ZoneRecord": _object(name=TEXT, ttl=NUMBER, type=TEXT, data=TEXT),
    "ProxyRoute": _object(url=TEXT, host=TEXT, port=NUMBER, upstreams=array_of("Upstream")),
    "Upstream": _object(key=TEXT, url=TEXT),
    "Health": _object(status=_enumeration(("ok", "degraded"))),
    "Error": _object(error=TEXT, message=TEXT),
}
