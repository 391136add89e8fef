"""What is known of a unit beyond its signals: files, control group and what they mean."""

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from koi_agent.backends.systemd.listeners import PRIVATE_NETWORK_NOTE
from koi_agent.backends.systemd.manager import UNIT, WITH_GROUP, Manager
from koi_agent.backends.systemd.unit_files import Library
from koi_agent.backends.systemd.units import Details, Unit
from koi_agent.core.metadata.parser import from_unit_keys
from koi_agent.core.text import printable

log = logging.getLogger(__name__)

FILES = ((UNIT, "FragmentPath"), (UNIT, "DropInPaths"))

KEPT = 16384
"""Units remembered; past that the one asked after longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class Known:
    """Details, the files they come from, and when those were changed last."""

    details: Details
    paths: tuple[str, ...]
    stamps: tuple[int, ...]


def stamps(paths: Iterable[str]) -> tuple[int, ...]:
    """Tell when files were changed last, in nanoseconds; 0 for a file that is not there."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - Path.stat is thrice the price, per unit
    except OSError:
        return 0


class Files:
    """Details by unit name, good until systemd reads its files again."""

    def __init__(self) -> None:
        self._library = Library()
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._fresh: set[str] = set()
        self._epoch = 0
        self._complained: dict[str, tuple[str, ...]] = {}

    def get(self, name: str) -> Details | None:
        """Tell what is known of a unit, be it from before systemd read its files again.

        Of a unit that was unloaded since, only if the files it had are as they were.
        """
        known = self._known.get(name)
        if known is None or (name not in self._fresh and stamps(known.paths) != known.stamps):
            return None
        return known.details

    def fresh(self, name: str) -> bool:
        """Tell whether what is known of a unit is what systemd has loaded."""
        return name in self._fresh

    def reloaded(self) -> None:
        """Take note that systemd has read all files again."""
        self._epoch += 1
        self._fresh.clear()

    def unloaded(self, name: str) -> None:
        """Take note that systemd has unloaded a unit: loaded again, its files count anew."""
        self._epoch += 1
        self._fresh.discard(name)

    async def ask(self, queries: Manager, unit: Unit) -> Details:
        """Ask for a unit's files and control group, and read them; raises ``BackendLost``."""
        epoch = self._epoch
        kind = WITH_GROUP.get(unit.name[unit.name.rfind(".") :])
        group = ((kind, "ControlGroup"),) if kind else ()
        values = await queries.properties(unit.path, (*FILES, *group))
        details = self._read(unit.name, values)
        paths = (values.get("FragmentPath", ""), *values.get("DropInPaths", ()))
        self._remember(unit.name, Known(details, paths, stamps(paths)))
        if epoch == self._epoch:  # else the answers may be from before systemd read them again
            self._fresh.add(unit.name)
        return details

    def _remember(self, name: str, known: Known) -> None:
        self._known[name] = known
        self._known.move_to_end(name)
        if len(self._known) > KEPT:
            forgotten, _ = self._known.popitem(last=False)
            self._fresh.discard(forgotten)
            self._complained.pop(forgotten, None)

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
            restarts=file.restarts or not fragment,
            tells=file.tells,
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
