"""Whose a control group is, by the id that the kernel gives with a socket.

The id is the inode of the group's folder in the unified hierarchy. A unit that was delegated
its group may make others below it: those are the unit's too.
"""

import os
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path, PurePath
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")

_DEEPEST = 6
_MOST_FOLDERS = 512


class ControlGroups:
    """Finds the units of control groups, and looks at no folder twice without need.

    An id, once it is found to be nobody's, stays so until other units are followed: then only
    those are looked at. A unit that restarts gets a new id, which is looked for at all units.
    """

    def __init__(self, root: Path = ROOT) -> None:
        """``root`` is where the hierarchy, or the hybrid one with all its parts, is mounted."""
        self._root = unified(root)
        self._units: dict[str, str] = {}
        self._owners: dict[int, str] = {}
        self._nobodys: frozenset[int] = frozenset()

    def owners(self, ids: Iterable[int], units: Mapping[str, str]) -> dict[int, str]:
        """Name the unit for each of these ids that one has.

        ``units`` are all that are followed, each with its ``ControlGroup`` as systemd gives it.
        """
        changed = self._follow(units)
        wanted = frozenset(ids)
        orphans = wanted - self._owners.keys()
        look_at = self._units if orphans - self._nobodys else changed
        if self._root and orphans and look_at:
            self._owners |= _found(self._root, orphans, look_at)
        self._nobodys = orphans - self._owners.keys()
        self._owners = {one: unit for one, unit in self._owners.items() if one in wanted}
        return dict(self._owners)

    def _follow(self, units: Mapping[str, str]) -> dict[str, str]:
        """Forget the units that are followed no more; say which are to be looked at.

        Those are the new ones, the moved ones, and those with one of these in their group.
        """
        if self._units == units:
            return {}
        changed = {unit: group for unit, group in units.items() if self._units.get(unit) != group}
        above = {str(parent) for group in changed.values() for parent in PurePath(group).parents}
        kept = {unit for unit in units.keys() - changed.keys() if units[unit] not in above}
        self._units = dict(units)
        self._owners = {one: unit for one, unit in self._owners.items() if unit in kept}
        return changed | {unit: group for unit, group in units.items() if group in above}


def _found(root: Path, orphans: frozenset[int], units: Mapping[str, str]) -> dict[int, str]:
    """Look at the units' own groups first, and below them only for what is left.

    So a unit whose group is inside that of another keeps what is its own.
    """
    folders = {unit: path for unit, group in units.items() if (path := _folder(root, group))}
    own = {one: unit for unit, path in folders.items() if (one := _id(path))}
    found = {one: own[one] for one in orphans & own.keys()}
    for unit, path in folders.items():
        if len(found) == len(orphans):
            break
        found |= {one: unit for one in _below(path, own) if one in orphans}
    return found


def unified(root: Path) -> Path | None:
    """Find the mount of the unified hierarchy: here, or where hybrid systems have it."""
    for folder in (root, root / "unified"):
        if (folder / "cgroup.controllers").exists():
            return folder
    return None


def _folder(root: Path, group: str) -> str | None:
    """Find the folder of a group; the root group is no unit's, nor one out of our sight."""
    inside = group.strip("/")
    if not inside or ".." in inside.split("/"):
        return None
    return f"{root}/{inside}"


def _id(path: str) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116  # Path.stat is thrice the price, per unit
    except (OSError, ValueError):
        return 0


def _below(path: str, own: Collection[int]) -> Iterator[int]:
    """Yield the ids of the groups below one, nearest first; not into another unit's own."""
    waiting = deque([(path, 1)])
    left = _MOST_FOLDERS
    while waiting and left > 0:
        folder, depth = waiting.popleft()
        for one, inner in islice(_folders(folder), left):
            left -= 1
            if one in own:
                continue
            yield one
            if depth < _DEEPEST:
                waiting.append((inner, depth + 1))


def _folders(path: str) -> Iterator[tuple[int, str]]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.inode(), entry.path
    except (OSError, ValueError):
        return


def exists(group: str, root: Path = ROOT) -> bool:
    """Tell whether there is such a group, in the unified hierarchy."""
    hierarchy = unified(root)
    folder = hierarchy and _folder(hierarchy, group)
    return bool(folder) and _id(folder or "") > 0


@cache
def users_manager() -> str:
    """Name the control group of the user's manager that we run under; "" under none."""
    try:
        groups = Path("/proc/self/cgroup").read_text("utf-8", "replace")
    except OSError:
        return ""
    found = re.search(r"^0::(/.*/user@[0-9]+\.service)(?:/|$)", groups, re.MULTILINE)
    return found[1] if found else ""
