"""The JSON of instances and backends; that of an instance is cached until the instance changes."""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, TypeVar

from koi_agent.core.events import BackendStatus
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.core.schema.backend import BACKEND_PROPERTIES
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.publishers.http.response import encode_json

T = TypeVar("T")

SLICE = 50
"""Values encoded before other tasks get a turn, if none is in the cache: two milliseconds."""
TIME_SLICE = 0.003
"""Seconds of encoding before other tasks get a turn. Values from the cache cost little."""


class Encoder:
    """A cache of the JSON of visible instances."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._cache: dict[Key, tuple[Instance, bytes]] = {}

    def encode(self, instance: Instance) -> bytes:
        """Return the JSON of an instance, from the cache if it has not changed."""
        cached = self._cache.get(instance.key)
        if cached and cached[0] is instance:
            return cached[1]
        encoded = encode(instance)
        if self._registry.visible.get(instance.key) is instance:
            self._cache[instance.key] = instance, encoded
        return encoded

    def forget(self, key: Key) -> None:
        """Remove an instance from the cache."""
        self._cache.pop(key, None)


async def encode_array(values: Iterable[T], encode: Callable[[T], bytes]) -> list[bytes]:
    """Encode values as one JSON array, in slices; return the pieces of the array."""
    pieces = [b"["]
    until = monotonic() + TIME_SLICE
    for value in values:
        pieces += (encode(value), b",")
        if monotonic() > until:
            await asyncio.sleep(0)
            until = monotonic() + TIME_SLICE
    return [*(pieces[:-1] if len(pieces) > 1 else pieces), b"]"]


def encode(instance: Instance) -> bytes:
    """Encode an instance as JSON."""
    return encode_json(INSTANCE_PROPERTIES.record(INSTANCE_PROPERTIES.values(instance)))


def backend_record(status: BackendStatus) -> dict[str, Any]:
    """Return the JSON form of a backend."""
    return BACKEND_PROPERTIES.record(BACKEND_PROPERTIES.values(status))
