"""Watches whether units are frozen, for versions of systemd that send no signal for it.

The kernel changes the file ``cgroup.events`` of a control group, which inotify reports.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from koi_agent.host.cgroups import ROOT, unified
from koi_agent.host.inotify import IGNORED, MODIFY, OVERFLOW, Inotify

log = logging.getLogger(__name__)

SIGNALS_FREEZER_SINCE = 257
"""The first version of systemd that sends PropertiesChanged when a unit freezes or thaws."""


class FreezerWatch:
    """Watches the control groups of units by object path; watches nothing until it is opened."""

    def __init__(self, root: Path = ROOT) -> None:
        """Start without a watch; ``root`` is the mount point of the control groups."""
        self._mount = root
        self._root: Path | None = None
        self._inotify: Inotify | None = None
        self._started: dict[str, str] = {}
        self._watches: dict[str, int] = {}
        self._units: dict[int, tuple[str, str]] = {}

    def open(self) -> None:
        """Start to watch; where inotify refuses, that is logged and nothing is watched."""
        try:
            self._inotify = Inotify()
        except OSError as error:
            log.warning("inotify: %s; units that freeze are not seen", error)
            return
        self._root = unified(self._mount)

    def close(self) -> None:
        """Remove all watches."""
        if self._inotify:
            self._inotify.close()

    @property
    def is_open(self) -> bool:
        return self._inotify is not None

    def unit_started(self, unit: str, control_group: str) -> None:
        """Watch the control group of a run from the next ``watch_started`` on."""
        if self._root:
            self._started[unit] = control_group

    def watch_started(self) -> dict[str, str]:
        """Watch the units that have started; returns their FreezerState by path.

        A unit that has stopped before this call is never watched: the kernel reports the end of
        each watch, and that would wake the agent up.
        """
        started, self._started = self._started, {}
        for unit in started:
            self._drop_watch(unit)  # each run has a control group of its own
        watched = [unit for unit, group in started.items() if self._add_watch(unit, group)]
        return self._states(self._watches[unit] for unit in watched)

    def remove(self, unit: str) -> None:
        """Ignore a unit from now on; the kernel ends the watch with the control group."""
        self._started.pop(unit, None)
        self._drop_watch(unit)

    async def changes(self) -> dict[str, str]:
        """Wait for changes; returns the FreezerState, by path, of units that may have changed."""
        if self._inotify is None:
            raise RuntimeError("the freezer watch is not open")
        await self._inotify.readable()
        changed: set[int] = set()
        for watch, mask, _ in self._inotify.read():
            if mask & IGNORED:
                self._forget_watch(watch)
            changed |= set(self._units) if mask & OVERFLOW else {watch}
        return self._states(changed)

    def _add_watch(self, unit: str, control_group: str) -> bool:
        if not (self._inotify and control_group):
            return False
        path = f"{self._root}/{control_group.lstrip('/')}/cgroup.events"
        try:
            watch = self._inotify.add(path, MODIFY)
        except OSError as error:
            log.debug("%s: %s: not watched for freezing: %s", unit, path, error.strerror)
            return False
        self._watches[unit] = watch
        self._units[watch] = (unit, path)
        return True

    def _drop_watch(self, unit: str) -> None:
        watch = self._watches.pop(unit, None)
        if watch is not None:
            self._units.pop(watch, None)

    def _forget_watch(self, watch: int) -> None:
        """Forget a watch that the kernel removed with its control group."""
        unit, _ = self._units.pop(watch, ("", ""))
        if self._watches.get(unit) == watch:
            del self._watches[unit]

    def _states(self, watches: Iterable[int]) -> dict[str, str]:
        units = [self._units[watch] for watch in watches if watch in self._units]
        states = {unit: _freezer_state(path) for unit, path in units}
        return {unit: state for unit, state in states.items() if state}


def _freezer_state(path: str) -> str:
    """Return the FreezerState by a control group's events, "" where the group is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # pathlib takes four times as long
    except OSError:
        return ""
    try:
        frozen = b"frozen 1" in os.read(descriptor, 4096).splitlines()
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return "frozen" if frozen else "running"
