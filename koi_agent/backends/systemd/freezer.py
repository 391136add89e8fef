"""Whether units are frozen, where systemd does not say: before 257 it sends no signal for it.

The kernel does: a control group's ``cgroup.events`` changes, and inotify tells.
"""

import logging
import os
from collections.abc import Callable

from koi_agent.host.cgroups import ROOT, unified
from koi_agent.host.inotify import IGNORED, MODIFY, OVERFLOW, Inotify

log = logging.getLogger(__name__)

SIGNALS_FREEZER = 257
"""The first version of systemd that sends PropertiesChanged when a unit freezes or thaws."""


class Freezer:
    """Watches the control groups of units; ``changed(path, state)`` gets FreezerState's words."""

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        self.inotify = Inotify()
        self._changed = changed
        self._root = unified(ROOT)
        self._watches: dict[str, int] = {}
        self._units: dict[int, tuple[str, str]] = {}

    def watch(self, unit: str, group: str) -> None:
        """Watch a unit that runs in a control group."""
        if not (self._root and group) or unit in self._watches:
            return
        path = f"{self._root}/{group.lstrip('/')}/cgroup.events"
        try:
            watch = self.inotify.add(path, MODIFY)
        except OSError as error:
            log.debug("%s: %s: not watched for freezing: %s", unit, path, error.strerror)
            return
        self._watches[unit] = watch
        self._units[watch] = (unit, path)
        self._look(watch)

    def forget(self, unit: str) -> None:
        """Watch a unit no more."""
        watch = self._watches.pop(unit, None)
        if watch is not None:
            del self._units[watch]
            self.inotify.remove(watch)

    def read(self) -> None:
        """Look at the groups that changed."""
        changed: set[int] = set()
        for watch, mask, _ in self.inotify.read():
            if mask & IGNORED:
                self._drop(watch)
            changed |= set(self._units) if mask & OVERFLOW else {watch}
        for watch in changed:
            self._look(watch)

    def _drop(self, watch: int) -> None:
        """Forget a watch whose group is gone."""
        unit, _ = self._units.pop(watch, ("", ""))
        if self._watches.get(unit) == watch:
            del self._watches[unit]

    def _look(self, watch: int) -> None:
        unit, path = self._units.get(watch, ("", ""))
        if not unit:
            return
        try:
            frozen = b"frozen 1" in _content(path).splitlines()
        except OSError:
            return
        self._changed(unit, "frozen" if frozen else "running")

    def close(self) -> None:
        """Drop all watches."""
        self.inotify.close()


def _content(path: str) -> bytes:
    """Read a small file of the kernel's; pathlib takes four times as long, at every start."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
