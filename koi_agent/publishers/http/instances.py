"""Instances and backends as JSON; an instance's is made once and kept until it changes."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from koi_agent.core.events import BackendStatus
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.core.schema import announcement_of, metadata_of, port_of
from koi_agent.publishers.http.response import encoded

T = TypeVar("T")

SLICE = 50
"""Values encoded before others get a turn: two to three milliseconds."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Encoder:
    """Makes the JSON of instances, and keeps that of what is visible."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kept: dict[Key, tuple[Instance, bytes]] = {}

    def of(self, instance: Instance) -> bytes:
        """Encode an instance, or find it encoded."""
        kept = self._kept.get(instance.key)
        if kept and kept[0] is instance:
            return kept[1]
        made = encoded(instance_of(instance))
        if self._registry.visible.get(instance.key) is instance:
            self._kept[instance.key] = instance, made
        return made

    def forget(self, key: Key) -> None:
        """Keep an instance's JSON no more."""
        self._kept.pop(key, None)


async def array(values: Iterable[T], encode: Callable[[T], bytes]) -> list[bytes]:
    """Encode many as one array, in slices."""
    pieces = [b"["]
    for number, value in enumerate(values, 1):
        pieces += (encode(value), b",")
        if number % SLICE == 0:
            await asyncio.sleep(0)
    return [*(pieces[:-1] if len(pieces) > 1 else pieces), b"]"]


def instance_of(instance: Instance) -> dict[str, Any]:
    """Show an instance: upstream's fields first, then ours."""
    shown = {
        "id": instance.id,
        "name": instance.name,
        "ports": [port_of(port, instance.metadata) for port in instance.ports],
        "ips": list(instance.ips),
        "metadata": metadata_of(instance.metadata),
        "backend": instance.backend,
        "state": str(instance.state),
        "discovered_at": moment(instance.discovered_at),
        "key": str(instance.key),
        "state_detail": instance.state_detail,
        "health": str(instance.health),
        "health_detail": instance.health_detail,
        "unit": instance.unit,
        "control_group": instance.control_group,
        "main_pid": instance.main_pid,
        "invocation_id": instance.invocation_id.hex(),
        "created_at": moment(instance.created_at),
        "stale": instance.stale,
        "announcements": [
            announcement_of(one) | {"since": moment(one.since)} for one in instance.announcements
        ],
    }
    for name in ("image", "project", "replica"):
        if value := getattr(instance, name):
            shown[name] = value
    return shown


def backend_of(status: BackendStatus) -> dict[str, Any]:
    """Show where a backend stands."""
    return {
        "name": status.name,
        "state": str(status.state),
        "instances": status.instances,
        "endpoint": status.endpoint,
        "runtime_version": status.runtime_version,
        "last_error": status.last_error,
        "reconnects": status.reconnects,
        "drift": status.drift,
        "last_sync": moment(status.last_sync),
    }


def moment(microseconds: int) -> str | None:
    """Spell microseconds since the epoch by RFC 3339; nothing for 0 and what no calendar has."""
    try:
        at = EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    return at.isoformat().replace("+00:00", "Z") if microseconds else None
