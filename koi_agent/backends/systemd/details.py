"""What is known of a unit beyond its signals: files, control group and what they mean."""

import logging
from typing import Any

from koi_agent.backends.systemd.listeners import PRIVATE_NETWORK_NOTE
from koi_agent.backends.systemd.queries import UNIT, WITH_GROUP, Queries
from koi_agent.backends.systemd.unit_files import Library
from koi_agent.backends.systemd.units import Details, Unit
from koi_agent.core.metadata import from_unit_keys
from koi_agent.core.text import printable

log = logging.getLogger(__name__)

FILES = ((UNIT, "FragmentPath"), (UNIT, "DropInPaths"))


class Files:
    """Details by unit name, good until systemd reads its files again."""

    def __init__(self) -> None:
        self._library = Library()
        self._known: dict[str, Details] = {}
        self._fresh: set[str] = set()
        self._complained: dict[str, tuple[str, ...]] = {}

    def get(self, name: str) -> Details | None:
        """Tell what is known of a unit, be it from before the last reload."""
        return self._known.get(name)

    def fresh(self, name: str) -> bool:
        """Tell whether what is known of a unit is from after the last reload."""
        return name in self._fresh

    def reloaded(self) -> None:
        """Take note that systemd has read all files again."""
        self._fresh.clear()

    def forget(self, name: str) -> None:
        """Take note that systemd has unloaded a unit: loaded again, its files count anew."""
        self._fresh.discard(name)
        self._known.pop(name, None)

    async def ask(self, queries: Queries, unit: Unit) -> Details:
        """Ask for a unit's files and control group, and read them; raises ``BackendLost``."""
        kind = WITH_GROUP.get(unit.name[unit.name.rfind(".") :])
        group = ((kind, "ControlGroup"),) if kind else ()
        values = await queries.properties(unit.path, (*FILES, *group))
        details = self._read(unit.name, values)
        self._known[unit.name] = details
        self._fresh.add(unit.name)
        return details

    def _read(self, name: str, values: dict[str, Any]) -> Details:
        fragment = values.get("FragmentPath", "")
        file = self._library.read(name, fragment, values.get("DropInPaths", ()))
        self._complain(name, file.problems)
        private = (PRIVATE_NETWORK_NOTE,) if file.private_network else ()
        return Details(
            fragment=printable(fragment),
            control_group=printable(values.get("ControlGroup", "")),
            metadata=from_unit_keys(file.assignments, dict(file.environment)),
            awaits="podman" if file.container else "",
            notes=(*file.problems, *private),
        )

    def _complain(self, name: str, problems: tuple[str, ...]) -> None:
        """Log a unit's trouble once, until it is another."""
        if problems and self._complained.get(name) != problems:
            log.warning("%s: %s", name, "; ".join(problems))
        if problems:
            self._complained[name] = problems
        else:
            self._complained.pop(name, None)
