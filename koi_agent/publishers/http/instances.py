"""Instances and backends as JSON; an instance's is made once and kept until it changes."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from koi_agent.core.events import BackendStatus
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.core.schema.backend import BACKEND_PROPERTIES
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.publishers.http.response import encoded

T = TypeVar("T")

SLICE = 50
"""Values encoded before others get a turn: two to three milliseconds."""


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
        made = encode(instance)
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


def encode(instance: Instance) -> bytes:
    """Encode an instance as JSON."""
    return encoded(INSTANCE_PROPERTIES.record(INSTANCE_PROPERTIES.values(instance)))


def backend_record(status: BackendStatus) -> dict[str, Any]:
    """Return the JSON form of a backend."""
    return BACKEND_PROPERTIES.record(BACKEND_PROPERTIES.values(status))
