"""Far ends that a table describes: other services on the bus, as our command finds them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from koi_agent.bus.interfaces import Interface
from koi_agent.bus.object_manager import ObjectManager
from tests.bus import small_tree
from tests.bus.small_tree import served


class Table:
    """Objects by path, with one interface each."""

    def __init__(self, objects: Mapping[str, Interface]) -> None:
        self._objects = objects
        self.managed = ObjectManager("/", self.interfaces)

    def interfaces(self, path: str) -> Sequence[tuple[Interface, Any]]:
        return ((self._objects[path], None),) if path in self._objects else ()

    def children(self, _path: str) -> None:
        return None

    def managed_paths(self) -> Sequence[str]:
        return ()


@asynccontextmanager
async def playing(
    address: str, name: str, objects: Mapping[str, Interface], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """Put such a service on the bus, under its name."""
    monkeypatch.setattr(small_tree, "NAME", name)
    table = Table(objects)
    async with served(address, table):  # type: ignore[arg-type]  # it is no Tree, and is served alike
        yield
