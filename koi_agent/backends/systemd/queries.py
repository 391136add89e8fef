"""Queries of a ``UnitTable`` to the manager and the kernel, and their queue."""

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadUnit:
    """Read the details of a unit."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class ReadSocket:
    """Read the properties of a socket unit."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class CheckLoaded:
    """List the units that were loaded and have sent no signal since."""


@dataclass(frozen=True, slots=True)
class FindListeners:
    """Read the listeners of the host."""


Query = ReadUnit | ReadSocket | CheckLoaded | FindListeners


class QueryQueue:
    """Queries in order; a unit that is being read is not queued again."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Query] = asyncio.Queue()
        self._reading: set[str] = set()

    def read(self, name: str, path: str) -> None:
        """Queue the reading of a unit, once until ``read_done``."""
        if path not in self._reading:
            self._reading.add(path)
            read = ReadSocket if name.endswith(".socket") else ReadUnit
            self._queue.put_nowait(read(name, path))

    def read_done(self, path: str) -> None:
        """Allow a unit to be read again."""
        self._reading.discard(path)

    def is_reading(self, path: str) -> bool:
        """Return True if a unit is queued or being read."""
        return path in self._reading

    def reading(self) -> set[str]:
        """Return the paths of the units that are queued or being read."""
        return set(self._reading)

    def put(self, query: CheckLoaded | FindListeners) -> None:
        """Queue a query that is not about one unit."""
        self._queue.put_nowait(query)

    async def next(self) -> Query:
        """Wait for the next query."""
        return await self._queue.get()
