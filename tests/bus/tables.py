"""Other services on the bus, each described by a table."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from koi_agent.bus.interfaces import Interface
from koi_agent.bus.object_manager import ObjectManager
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
async def playing(address: str, name: str, objects: Mapping[str, Interface]) -> AsyncIterator[None]:
    """Serve such a service on the bus under its name."""
    async with served(address, Table(objects), name=name):
        yield
