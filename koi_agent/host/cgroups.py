"""Finds the unit of a control group by the id that the kernel gives with a socket.

The id is the inode of the group's directory in the unified hierarchy. A unit with Delegate= may
create groups below its own; these belong to the unit too.
"""

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePath
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")

_MAX_DEPTH = 6
_MAX_DIRECTORIES = 512


class ControlGroups:
    """Finds the units of control groups, and caches what it has found.

    An id without a unit is looked for again only in units that were added later. A unit that
    restarts gets a new id, which is looked for in all units.
    """

    def __init__(self, root: Path = ROOT) -> None:
        """Start empty; ``root`` is the mount point of the hierarchy, unified or hybrid."""
        self._root = unified(root)
        self._units: dict[str, str] = {}
        self._owners: dict[int, str] = {}
        self._unowned: frozenset[int] = frozenset()

    def owners(self, ids: Iterable[int], units: Mapping[str, str]) -> dict[int, str]:
        """Return the unit of each of these ids that belongs to one.

        ``units`` are all followed units, each with its ``ControlGroup`` as systemd gives it.
        """
        changed = self._follow(units)
        wanted = frozenset(ids)
        orphans = wanted - self._owners.keys()
        candidates = self._units if orphans - self._unowned else changed
        if self._root and orphans and candidates:
            self._owners |= _search(self._root, orphans, candidates)
        self._unowned = orphans - self._owners.keys()
        self._owners = {id_: unit for id_, unit in self._owners.items() if id_ in wanted}
        return dict(self._owners)

    def _follow(self, units: Mapping[str, str]) -> dict[str, str]:
        """Store the followed units; return those in which ids must be looked for.

        These are the new ones, the moved ones, and those with one of these in their group.
        """
        if self._units == units:
            return {}
        changed = {unit: group for unit, group in units.items() if self._units.get(unit) != group}
        above = {str(parent) for group in changed.values() for parent in PurePath(group).parents}
        kept = {unit for unit in units.keys() - changed.keys() if units[unit] not in above}
        self._units = dict(units)
        self._owners = {id_: unit for id_, unit in self._owners.items() if unit in kept}
        return changed | {unit: group for unit, group in units.items() if group in above}


def _search(root: Path, orphans: frozenset[int], units: Mapping[str, str]) -> dict[int, str]:
    """Find ids in the units' own groups first, and the others below these.

    This order assigns the right ids to a unit whose group is inside that of another.
    """
    directories = {unit: path for unit, group in units.items() if (path := _directory(root, group))}
    own = {id_: unit for unit, path in directories.items() if (id_ := _id(path))}
    found = {id_: own[id_] for id_ in orphans & own.keys()}
    for unit, path in directories.items():
        if len(found) == len(orphans):
            break
        found |= {id_: unit for id_ in _below(path, own) if id_ in orphans}
    return found


def unified(root: Path) -> Path | None:
    """Return the mount point of the unified hierarchy, which hybrid systems have below ``root``."""
    for directory in (root, root / "unified"):
        if (directory / "cgroup.controllers").exists():
            return directory
    return None


def _directory(root: Path, group: str) -> str | None:
    """Return the directory of a group, None for the root group and paths outside the hierarchy."""
    inside = group.strip("/")
    if not inside or ".." in inside.split("/"):
        return None
    return f"{root}/{inside}"


def _id(path: str) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116  # Path.stat takes three times as long
    except (OSError, ValueError):
        return 0


def _below(path: str, own: Collection[int]) -> Iterator[int]:
    """Yield the ids of the groups below one, nearest first, without those of other units."""
    waiting = deque([(path, 1)])
    left = _MAX_DIRECTORIES
    while waiting and left > 0:
        directory, depth = waiting.popleft()
        for id_, inner in islice(_directories(directory), left):
            left -= 1
            if id_ in own:
                continue
            yield id_
            if depth < _MAX_DEPTH:
                waiting.append((inner, depth + 1))


def _directories(path: str) -> Iterator[tuple[int, str]]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.inode(), entry.path
    except (OSError, ValueError):
        return
