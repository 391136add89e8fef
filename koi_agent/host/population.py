"""Watches whether control groups have processes, which the kernel reports in ``cgroup.events``."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from koi_agent.host.cgroups import ROOT, unified
from koi_agent.host.inotify import IGNORED, MODIFY, OVERFLOW, Inotify

log = logging.getLogger(__name__)

PAUSE = 2.0
"""Seconds from the first change until changes are read. Engines report nearly all ends before."""


class PopulationWatch:
    """Watches control groups by the id of their owner; watches nothing if inotify refuses.

    ``on_emptied`` gets the owner of a control group that has changed and is empty, or gone. Only a
    group that was seen with this watch can be empty: a path that never existed may be one of
    another hierarchy or namespace.
    """

    def __init__(self, on_emptied: Callable[[str], None], root: Path = ROOT) -> None:
        """Start without a watch; ``root`` is the mount point of the hierarchy."""
        self._on_emptied = on_emptied
        self._loop = asyncio.get_running_loop()
        self._root = unified(root)
        self._inotify: Inotify | None = None
        self._files: dict[str, str] = {}
        self._runs: dict[str, str] = {}
        self._watches: dict[int, str] = {}
        self._pausing: asyncio.TimerHandle | None = None

    def follow(self, owner: str, control_group: str, *, run: str) -> None:
        """Watch the control group of an owner; with another ``run``, forget the earlier group."""
        if self._runs.get(owner) != run:
            self.forget(owner)
        file = f"{self._root}/{control_group.strip('/')}/cgroup.events"
        if self._files.get(owner) == file:
            return  # watched already
        inotify = self._opened()
        if not (self._root and control_group and inotify):
            return
        try:
            watch = inotify.add(file, MODIFY)
        except OSError as error:
            log.debug("%.12s: %s: not watched: %s", owner, file, error.strerror)
            return
        self._files[owner] = file
        self._runs[owner] = run
        self._watches[watch] = owner

    def forget(self, owner: str) -> None:
        """Forget the control group of an owner; the kernel ends the watch with the group."""
        self._files.pop(owner, None)
        self._runs.pop(owner, None)

    def is_empty(self, owner: str) -> bool:
        """Return True if the watched control group of an owner has no process, or is gone."""
        file = self._files.get(owner)
        return file is not None and not _is_populated(file)

    def close(self) -> None:
        """Remove all watches."""
        if self._pausing:
            self._pausing.cancel()
        if self._inotify:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    def _listen(self, inotify: Inotify) -> None:
        self._loop.add_reader(inotify.fileno(), self._on_change, inotify)

    def _on_change(self, inotify: Inotify) -> None:
        self._loop.remove_reader(inotify.fileno())
        self._pausing = self._loop.call_later(PAUSE, self._read, inotify)

    def _read(self, inotify: Inotify) -> None:
        """Report the owners whose control groups have changed and are empty now."""
        self._listen(inotify)
        owners: set[str] = set()
        for watch, mask, _ in inotify.read():
            owners |= set(self._files) if mask & OVERFLOW else {self._watches.get(watch, "")}
            if mask & IGNORED:
                self._watches.pop(watch, None)
        for owner in owners:
            if self.is_empty(owner):
                self._on_emptied(owner)

    def _opened(self) -> Inotify | None:
        """Return the inotify instance, which is opened with the first control group."""
        if self._inotify is None and self._root:
            try:
                self._inotify = Inotify()
            except OSError as error:
                log.warning("inotify: %s; containers that die unnoticed stay", error)
                self._root = None
            else:
                self._listen(self._inotify)
        return self._inotify


def _is_populated(file: str) -> bool:
    """Return False if the events of a control group say that it is empty, or it is gone."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return b"populated 0" not in os.read(descriptor, 4096).splitlines()
    except OSError:
        return False
    finally:
        os.close(descriptor)
