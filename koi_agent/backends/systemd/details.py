"""Reads and caches what systemd does not signal of a unit: its files and its control group."""

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from koi_agent.backends.systemd.manager import CONTROL_GROUP_INTERFACES, UNIT, Manager
from koi_agent.backends.systemd.ports import PRIVATE_NETWORK_NOTE
from koi_agent.backends.systemd.selection import Selection
from koi_agent.backends.systemd.unit_files import UnitFileReader
from koi_agent.backends.systemd.units import UnitDetails
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.parser import from_unit_keys
from koi_agent.core.text import MOST_REASONS, bounded, printable

log = logging.getLogger(__name__)

UNIT_PROPERTIES = ((UNIT, "FragmentPath"), (UNIT, "DropInPaths"), (UNIT, "Names"))

CONFIRM = 1.0
"""Seconds that a unit must run until its details are read, where the cached ones may be old."""
UNITS_CACHED = 16384
"""Units whose details are cached; the least recently read one is dropped first."""


@frozen()
class UnitRecord:
    """The details of a unit with the files that they come from.

    ``mtimes`` are those of ``paths``, in nanoseconds. ``generation`` is the cache's generation
    when the manager was asked. ``problems`` are the unusable lines of the files.
    """

    details: UnitDetails
    paths: tuple[str, ...]
    mtimes: tuple[int, ...]
    generation: int
    problems: tuple[str, ...] = ()


class DetailsReader:
    """Reads the details of units of one manager."""

    def __init__(self, selection: Selection, manager: Manager, files: UnitFileReader) -> None:
        self._selection = selection
        self._manager = manager
        self._files = files

    async def read(self, name: str, path: str, generation: int) -> UnitRecord:
        """Return a unit's details; raises ``BackendLost``.

        ``generation`` must be the cache's generation before the call.
        """
        interface = CONTROL_GROUP_INTERFACES.get(name[name.rfind(".") :])
        control_group = ((interface, "ControlGroup"),) if interface else ()
        properties = await self._manager.properties(path, (*UNIT_PROPERTIES, *control_group))
        return self._record(name, properties, generation)

    def _record(self, name: str, properties: dict[str, Any], generation: int) -> UnitRecord:
        fragment = properties.get("FragmentPath", "")
        drop_ins = properties.get("DropInPaths", ())
        file = self._files.read(name, fragment, drop_ins)
        private = (PRIVATE_NETWORK_NOTE,) if file.private_network else ()
        details = UnitDetails(
            fragment_path=printable(fragment),
            control_group=printable(properties.get("ControlGroup", "")),
            metadata=from_unit_keys(file.assignments, dict(file.environment), dict(file.refused)),
            awaits="podman" if file.from_quadlet else "",
            may_restart=file.may_restart or not fragment,
            notifies_ready=file.notifies_ready,
            address_filter=file.address_filter,
            notes=(*file.problems, *private),
            problems=file.problems,
            is_shown=self._selection.is_shown(name),
            aliases=tuple(sorted(set(properties.get("Names", ())) - {name})),
        )
        paths = (fragment, *drop_ins)
        return UnitRecord(details, paths, _mtimes(paths), generation, file.problems)


class DetailsCache:
    """Details by unit name, current until systemd reads its files again.

    ``generation`` counts the times that this, or the unloading of a unit, may have changed
    what the manager answers.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._records: OrderedDict[str, UnitRecord] = OrderedDict()
        self._current: set[str] = set()

    def get(self, name: str) -> UnitDetails | None:
        """Return a unit's details, or None if they must be read.

        Details from before a daemon-reload, or of a unit that was unloaded since, are returned
        only if the files have not changed.
        """
        record = self._records.get(name)
        if record is None or (name not in self._current and _mtimes(record.paths) != record.mtimes):
            return None
        return record.details

    def is_current(self, name: str) -> bool:
        """Return True if a unit's details are those that systemd has loaded."""
        return name in self._current

    def store(self, name: str, record: UnitRecord) -> None:
        """Store what was read, and log problems that were not logged before."""
        before = self._records.get(name)
        if record.problems and (before is None or before.problems != record.problems):
            hint = f"koi-runtime explain {name}"
            problems = bounded(record.problems, MOST_REASONS, hint)
            log.warning("%s: %s", name, "; ".join(problems))
        self._records[name] = record
        self._records.move_to_end(name)
        if record.generation == self.generation:
            self._current.add(name)
        if len(self._records) > UNITS_CACHED:
            dropped, _ = self._records.popitem(last=False)
            self._current.discard(dropped)

    def reloaded(self) -> None:
        """Mark all details as read before a daemon-reload."""
        self.generation += 1
        self._current.clear()

    def unloaded(self, name: str) -> None:
        """Mark the details of a unit as out of date: systemd reads its files when it loads it."""
        self.generation += 1
        self._current.discard(name)


def _mtimes(paths: Iterable[str]) -> tuple[int, ...]:
    """Return modification times in nanoseconds, 0 for a file that can't be examined."""
    return tuple(_mtime(path) for path in paths)


def _mtime(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - Path.stat takes three times as long
    except OSError:
        return 0
