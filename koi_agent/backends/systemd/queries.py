"""The pending queries of a ``UnitTable`` to the manager and the kernel."""

import asyncio

from koi_agent.core.frozen import frozen


@frozen()
class ReadUnit:
    """Read the details of a unit."""

    name: str
    path: str


@frozen()
class ReadSocket:
    """Read the properties of a socket unit."""

    name: str
    path: str


@frozen()
class CheckLoaded:
    """List the units that were loaded and have not sent a signal since."""


@frozen()
class CheckStopped:
    """List the dead units that may be about to start again."""


@frozen()
class FindListeners:
    """Read the listeners of the host."""


Query = ReadUnit | ReadSocket | CheckLoaded | CheckStopped | FindListeners


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

    def check_loaded(self) -> None:
        """Queue the check of the units that were loaded."""
        self._queue.put_nowait(CheckLoaded())

    def check_stopped(self) -> None:
        """Queue the check of the units that are dead."""
        self._queue.put_nowait(CheckStopped())

    def find_listeners(self) -> None:
        """Queue the reading of the listeners."""
        self._queue.put_nowait(FindListeners())

    async def next(self) -> Query:
        """Wait for the next query."""
        return await self._queue.get()
