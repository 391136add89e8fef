"""The JSON of instances and backends; that of an instance is cached until the instance changes."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

from koi_agent.core import lookup
from koi_agent.core.errors import BadInput
from koi_agent.core.events import BackendStatus
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.core.schema.backend import BACKEND_PROPERTIES
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.publishers.http.response import RequestError, encode_json

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


def named(registry: Registry, word: str) -> Instance:
    """Return the instance that a key, an id or a name means; raise ``RequestError``."""
    visible = registry.visible
    with suppress(BadInput):
        if instance := visible.get(Key.parse(word)):
            return instance
    found = [i for name in registry.backends if (i := visible.get(Key(name, word)))]
    if len(found) > 1:
        raise _ambiguous("ambiguous_id", "has this id", found)
    found = found or _named(registry, word)
    if len(found) > 1:
        raise _ambiguous("ambiguous_name", "has this name", found)
    if not found:
        raise RequestError(404, "not_found", f"instance not found: {word[:300]}")
    return found[0]


def _named(registry: Registry, word: str) -> list[Instance]:
    """Return the instances with a name; a pattern finds nothing."""
    if lookup.is_pattern(word):
        return []
    visible = registry.visible
    found = lookup.find(word, map(lookup.of_instance, visible.values()))
    return [visible[one.key] for one in found] or registry.of_unit(word)


def _ambiguous(code: str, what: str, found: Sequence[Instance]) -> RequestError:
    keys = ", ".join(str(instance.key) for instance in found)
    return RequestError(409, code, f"more than one instance {what}: {keys}")
