"""Calls the agent over D-Bus while other tasks run: for ``watch`` and ``doctor``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from koi_agent.bus.address import address
from koi_agent.bus.calls import PROPERTIES
from koi_agent.bus.client import Connection, connected
from koi_agent.cli.client import (
    OBJECT_MANAGER,
    Properties,
    backend_rows,
    failures,
    instances_of,
    only,
)
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT

T = TypeVar("T")


class AsyncClient:
    """Calls of the agent over one connection.

    All methods raise as ``Connection.call`` does, and ``BadInput`` for a malformed reply.
    """

    def __init__(self, link: Connection) -> None:
        self._link = link

    async def _call(
        self, path: str, interface: str, member: str, *texts: str, returns: type[T]
    ) -> T:
        """Call a method with string arguments and one return value."""
        reply = await self._link.call((NAME, path, interface), member, "s" * len(texts), texts)
        return only(reply, member, returns)

    async def properties(self, path: str, interface: str) -> Properties:
        return await self._call(path, PROPERTIES, "GetAll", interface, returns=dict)

    async def instances(self) -> list[Properties]:
        """Return the properties of all instances, by one call."""
        objects = await self._call(ROOT, OBJECT_MANAGER, "GetManagedObjects", returns=dict)
        return instances_of(objects)

    async def backend_paths(self) -> list[str]:
        rows = await self._call(ROOT, MANAGER, "ListBackends", returns=list)
        return [row[-1] for row in backend_rows(rows)]


@asynccontextmanager
async def bus(scope: str) -> AsyncIterator[Connection]:
    """Connect to a bus in order to call the agent; raise ``KoiError`` for every failure."""
    with failures(scope):
        async with connected(address(scope)) as link:
            yield link
