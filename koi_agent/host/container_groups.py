"""Finds the control group of a container, wherever its engine has put it.

Docker does not name it. It follows from the engine's cgroup driver and options, from options of
the container, and from where the engine itself runs. But in every case the last part of the path
contains the container's ID: ``docker-ID.scope``, ``libpod-ID.scope`` or ``ID``.
"""

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from koi_agent.host.cgroups import ROOT, unified

MAX_DEPTH: Final = 10
MAX_DIRECTORIES: Final = 8192
"""Maximum number of directories that one search reads."""
MAX_PLACES: Final = 16
"""Maximum number of cached places: one for each parent and each form of the name."""
PAUSE_FACTOR: Final = 20
"""A search that finds nothing is followed by a pause of this many times its duration."""
LONGEST_PAUSE: Final = 2.0
"""Seconds up to which the pause doubles with each such search.

The containers of an engine in another cgroup namespace are never found. A longer search has its
own pause.
"""
MAX_DOUBLINGS: Final = 30

_CONTAINER: Final = re.compile("[0-9a-f]{64}")
_BEFORE: Final = frozenset({"", "docker-", "libpod-", "libpod-payload-"})
_AFTER: Final = frozenset({"", ".scope"})
"""Parts of the name around the ID. ``libpod-conmon-ID.scope`` has Podman's monitor only."""
_OWN_LINE: Final = re.compile(r"^0::(/.*)$", re.MULTILINE)


class _Place(NamedTuple):
    """A place of containers: the parent's directory, and the parts of the name around the ID."""

    parent: str
    before: str
    after: str

    def of(self, id_: str) -> str:
        return f"{self.parent}/{self.before}{id_}{self.after}"


class ContainerGroups:
    """Finds control groups by ID, and remembers where it found containers.

    ``root`` is the mount point of the hierarchy, unified or hybrid.
    """

    def __init__(self, root: Path = ROOT, processes: Path = Path("/proc")) -> None:
        hierarchy = unified(root)
        self._root = str(hierarchy) if hierarchy else ""
        self._processes = processes
        self._places: list[_Place] = []
        self._not_before = float("-inf")
        self._failures = 0
        self._searching = asyncio.Lock()

    async def find(self, id_: str, main_pid: int, *, named: str = "") -> str:
        """Return the control group of a container that runs, or "" if it is not found.

        ``main_pid`` is 0 if the container does not run. ``named`` is the group that the engine
        names, which may be gone.
        """
        if not self._root or not main_pid or not id_:
            return ""
        if named and self._exists(named):
            return named
        if group := self._of_process(id_, main_pid) or self._in_known_place(id_):
            return group
        async with self._searching:  # the previous search may have found the place of this one
            group = self._in_known_place(id_)
            if group or time.monotonic() < self._not_before:
                return group
            # A host may have thousands of control groups: the event loop must not wait for them.
            return await asyncio.to_thread(self._search, id_)

    def _exists(self, group: str) -> bool:
        inside = group.strip("/")
        if not inside or ".." in inside.split("/"):
            return False
        return _is_directory(f"{self._root}/{inside}")

    def _of_process(self, id_: str, pid: int) -> str:
        """Return the group of a process up to the part that contains the ID.

        The container's own manager may have moved the process below. A group without the ID belongs
        to another process, which has the same number now.
        """
        parts = group_of_process(pid, self._processes).split("/")
        ends = (end for end, part in enumerate(parts, 1) if id_ in part)
        group = "/".join(parts[: next(ends, 0)])
        return group if group and self._exists(group) else ""

    def _in_known_place(self, id_: str) -> str:
        for place in self._places:
            if _is_directory(path := place.of(id_)):
                self._remember(place)
                return path.removeprefix(self._root)
        return ""

    def _search(self, id_: str) -> str:
        """Search all directories, nearest to the root first."""
        began = time.monotonic()
        for parent, name in _groups(self._root):
            before, found, after = name.partition(id_)
            if found and before in _BEFORE and after in _AFTER:
                self._remember(_Place(parent, before, after))
                self._failures = 0
                return f"{parent}/{name}".removeprefix(self._root)
        ended = time.monotonic()
        self._not_before = ended + pause_after(ended - began, self._failures)
        self._failures += 1
        return ""

    def _remember(self, place: _Place) -> None:
        """Move a place to the front; drop the least recently used one."""
        others = [other for other in self._places if other != place]
        self._places = [place, *others[: MAX_PLACES - 1]]


def pause_after(duration: float, failures: int) -> float:
    """Return the pause in seconds after a failed search, given the number of earlier ones."""
    shortest = PAUSE_FACTOR * duration
    doubled = shortest * 2.0 ** min(failures, MAX_DOUBLINGS)
    return max(shortest, min(doubled, LONGEST_PAUSE))


def group_of_process(pid: int, processes: Path = Path("/proc")) -> str:
    """Return the control group of a process, "" if it is gone or hidden (ProtectProc=)."""
    try:
        # Path.read_text takes three times as long, and each run of a container needs this.
        with open(f"{processes}/{pid}/cgroup", "rb", buffering=0) as file:  # noqa: PTH123
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    found = _OWN_LINE.search(text)
    return found[1] if found else ""


def has_process(group: str, pid: int, root: Path = ROOT) -> bool:
    """Return True if a process is in a control group or below.

    Every user may read the list of a group, even with processes that ``/proc`` hides.
    """
    hierarchy, inside = unified(root), group.strip("/")
    if not hierarchy or not inside or ".." in inside.split("/"):
        return False
    top = f"{hierarchy}/{inside}"
    directories = (f"{parent}/{name}" for parent, name in _groups(top, into_containers=True))
    return _lists(top, pid) or any(_lists(one, pid) for one in directories)


def _lists(directory: str, pid: int) -> bool:
    try:
        words = Path(directory, "cgroup.procs").read_text("ascii").split()
    except (OSError, ValueError):
        return False
    return str(pid) in words


def _groups(root: str, *, into_containers: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the directories below one, as parent and name; those in containers only on request."""
    waiting = deque([(root, 1)])
    left = MAX_DIRECTORIES
    while waiting and left > 0:
        parent, depth = waiting.popleft()
        left -= 1
        for name in _names(parent):
            yield parent, name
            if depth < MAX_DEPTH and (into_containers or not _CONTAINER.search(name)):
                waiting.append((f"{parent}/{name}", depth + 1))


def _names(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _is_directory(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  # Path.is_dir takes three times as long
