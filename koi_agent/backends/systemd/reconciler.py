"""Asks what a ``UnitTable`` does not know, and gives it the answers: the full list included."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import partial

from koi_agent.backends.systemd.details import DetailsReader, UnitRecord
from koi_agent.backends.systemd.manager import SERVICE, UNIT, Manager, UnitStatus, run_all
from koi_agent.backends.systemd.queries import (
    CheckLoaded,
    CheckStopped,
    FindListeners,
    Query,
    ReadSocket,
    ReadUnit,
)
from koi_agent.backends.systemd.selection import MOST_PATTERNS, Selection
from koi_agent.backends.systemd.sockets import SOCKET_PROPERTIES
from koi_agent.backends.systemd.unit_files import UnitFileReader
from koi_agent.backends.systemd.unit_table import UnitTable
from koi_agent.core.instance import Instance
from koi_agent.host.listeners import ListenerTable

UNSIGNALED_PROPERTIES = (
    (UNIT, "InvocationID"),
    (UNIT, "FreezerState"),
    (SERVICE, "MainPID"),
    (SERVICE, "NRestarts"),
)
"""Properties that are read of a listed unit of which no signal was received."""


class Reconciler:
    """Brings a table in line with the manager and the kernel; all raise ``BackendLost``."""

    def __init__(
        self,
        selection: Selection,
        manager: Manager,
        table: UnitTable,
        files: UnitFileReader,
        listeners: ListenerTable,
    ) -> None:
        self._selection = selection
        self._manager = manager
        self._details = DetailsReader(selection, manager, files)
        self._table = table
        self._listeners = listeners
        self._listing = asyncio.Lock()
        self._finding = asyncio.Lock()

    async def answer(self, query: Query) -> None:
        """Answer one query of the table."""
        match query:
            case ReadUnit(name, path):
                self._table.details_read(name, path, await self._read_details(name, path))
                self._selection.machine_units.read([name])
            case ReadSocket(name, path):
                await self._read_socket(name, path)
            case CheckLoaded():
                await self._check_loaded()
            case CheckStopped():
                await self._check_stopped()
            case FindListeners():
                await self._find_listeners()

    async def list(self) -> tuple[list[Instance], set[str]]:
        """Return the instances that run, and the names of units that are changing.

        The latter are left out: signals that are to come are newer than the list.
        """
        self._table.listing_requested()
        async with self._listing:
            self._table.listing_started()
            of_machines = list(self._selection.machine_units)
            listed = await self._manager.list_units([*self._selection.patterns(), "*.socket"])
            self._table.list_received(listed)
            # Sockets first: the services of one with Accept=yes are not followed.
            await run_all([partial(self._read_listed_socket, status) for status in listed])
            await run_all([partial(self._read_listed_unit, status) for status in listed])
            await self._find_listeners()
            changing = self._table.compare(listed)
            self._selection.machine_units.read(of_machines)
        running = self._table.instances()
        return [instance for instance in running if instance.id not in changing], changing

    async def _check_loaded(self) -> None:
        """List the units that were loaded and have sent no signal, without loading them again."""
        async with self._listing:
            loaded = self._table.listing_started()
            if not loaded:
                return
            statuses = await self._manager.list_units(self._patterns(loaded))
            # A signal has arrived of a unit that the table has.
            new = [
                one for one in statuses if one.path in loaded and not self._table.has_unit(one.path)
            ]
            await run_all([partial(self._read_listed_unit, status) for status in new])
            self._table.loaded_units_listed(loaded)
            self._selection.machine_units.read(loaded.values())

    async def _check_stopped(self) -> None:
        """List the units that are dead: the reply comes after all signals that are older."""
        dead = self._table.dead_units()
        statuses = await self._manager.list_units(self._patterns(dead))
        listed = [one for one in statuses if one.path in dead]
        restarts: dict[str, int] = {}
        for path in [one.path for one in listed if one.job_type]:
            properties = await self._manager.properties(path, ((SERVICE, "NRestarts"),))
            restarts[path] = properties.get("NRestarts", 0)
        self._table.dead_units_listed(listed, restarts)

    def _patterns(self, names: Mapping[str, str]) -> Iterable[str]:
        """Return patterns that match some followed units, and perhaps others; names by path."""
        return names.values() if len(names) <= MOST_PATTERNS else self._selection.patterns()

    async def _find_listeners(self) -> None:
        async with self._finding:
            since = time.monotonic()
            self._table.listeners_found(await self._listeners.read(), since=since)

    async def _read_socket(self, name: str, path: str) -> None:
        """Read where a socket listens, and its details if sockets are followed themselves."""
        properties = await self._manager.properties(path, SOCKET_PROPERTIES)
        is_followed = self._table.has_unit(path)
        record = await self._read_details(name, path) if is_followed else None
        self._table.socket_read(name, path, properties)
        if record:
            self._table.details_read(name, path, record)

    async def _read_listed_socket(self, status: UnitStatus) -> None:
        if self._table.must_read_socket(status):
            await self._read_socket(status.name, status.path)

    async def _read_listed_unit(self, status: UnitStatus) -> None:
        if not self._table.must_read_unit(status):
            return
        if self._table.has_unit(status.path):
            record = await self._read_details(status.name, status.path)
            self._table.details_read(status.name, status.path, record)
        else:
            properties = await self._manager.properties(status.path, UNSIGNALED_PROPERTIES)
            record = await self._read_details(status.name, status.path)
            self._table.unit_found(status, properties, record)

    async def _read_details(self, name: str, path: str) -> UnitRecord:
        return await self._details.read(name, path, self._table.generation)
