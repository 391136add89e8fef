"""Calls the agent over D-Bus while other tasks run: for ``watch`` and ``doctor``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from koi_agent.bus.address import address
from koi_agent.bus.calls import PROPERTIES, Call
from koi_agent.bus.client import Connection, connected
from koi_agent.cli.client import (
    BACKEND_ROWS,
    MANAGED_OBJECTS,
    OBJECT_MANAGER,
    Properties,
    failures,
    instances_of,
)
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT


class AsyncClient:
    """Calls of the agent over one connection.

    All methods raise as ``Connection.call`` does, and ``BadInput`` for a malformed reply.
    """

    def __init__(self, link: Connection) -> None:
        self._link = link

    async def _call(self, path: str, interface: str, member: str, *texts: str, returns: str) -> Any:
        """Call a method with string arguments and one return value, of type ``returns``."""
        call = Call((NAME, path, interface), member, "s" * len(texts), texts, returns)
        (value,) = await self._link.values(call)
        return value

    async def properties(self, path: str, interface: str) -> Properties:
        found: Properties = await self._call(path, PROPERTIES, "GetAll", interface, returns="a{sv}")
        return found

    async def instances(self) -> list[Properties]:
        """Return the properties of all instances, by one call."""
        objects = await self._call(
            ROOT, OBJECT_MANAGER, "GetManagedObjects", returns=MANAGED_OBJECTS
        )
        return instances_of(objects)

    async def backend_paths(self) -> list[str]:
        rows = await self._call(ROOT, MANAGER, "ListBackends", returns=BACKEND_ROWS)
        return [row[-1] for row in rows]


@asynccontextmanager
async def bus(scope: str) -> AsyncIterator[Connection]:
    """Connect to a bus in order to call the agent; raise ``KoiError`` for every failure."""
    with failures(scope):
        async with connected(address(scope)) as link:
            yield link
