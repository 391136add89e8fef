"""Units that contain a machine each. systemd-machined names them; systemd has their metadata.

The name of a unit does not identify it: systemd-nspawn of systemd 262 starts the machine ``web`` in
``web.scope``.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from typing import Final

from koi_agent.timeouts import timeout

READ_PATIENCE: Final = 2.0
"""Seconds that a machine waits for the metadata of its unit."""
SPARE: Final = 8
"""How many more units than machines are stored: the end of a unit follows that of its machine."""


class MachineUnits:
    """Units by machine. The backend of systemd-machined puts them; that of systemd reads them."""

    def __init__(self) -> None:
        self._units: dict[str, str] = {}
        self._machines = Counter[str]()
        self._watchers: list[Callable[[str], None]] = []
        self._unread: set[str] = set()
        self._all_read = asyncio.Event()

    def __contains__(self, unit: str) -> bool:
        return unit in self._machines

    def __iter__(self) -> Iterator[str]:
        return iter(self._machines)

    # For the backend of systemd-machined

    async def put(self, units: Mapping[str, str], running: Set[str]) -> None:
        """Store the units of machines, by name, and wait until they are read.

        ``running`` are the names of all machines. When there are many more units, those of other
        machines are removed.
        """
        for machine, unit in units.items():
            self._put(machine, unit)
        if len(self._units) > 2 * len(running) + SPARE:
            for machine in self._units.keys() - running - units.keys():
                self._remove(machine)
        with suppress(TimeoutError):
            async with timeout(READ_PATIENCE):
                while self._unread:
                    self._all_read.clear()
                    await self._all_read.wait()

    def _put(self, machine: str, unit: str) -> None:
        if self._units.get(machine) == unit:
            return
        self._remove(machine)
        self._units[machine] = unit
        self._machines[unit] += 1
        if self._machines[unit] == 1 and self._watchers:
            self._unread.add(unit)
        self._report(unit)

    def _remove(self, machine: str) -> None:
        if (unit := self._units.pop(machine, None)) is None:
            return
        self._machines[unit] -= 1
        if not self._machines[unit]:
            del self._machines[unit]
            self.read([unit])
        self._report(unit)

    def _report(self, unit: str) -> None:
        for on_change in self._watchers:
            on_change(unit)

    # For the backend of systemd

    def watch(self, on_change: Callable[[str], None]) -> None:
        """Call back with the unit of each machine that is added or removed.

        ``read`` must follow for one that is added.
        """
        self._watchers.append(on_change)

    def unwatch(self, on_change: Callable[[str], None]) -> None:
        """Stop calling a watcher."""
        self._watchers = [one for one in self._watchers if one != on_change]
        if not self._watchers:
            self.read(list(self._unread))

    def read(self, units: Iterable[str]) -> None:
        """Mark units as read: their instances are delivered, or they do not run."""
        self._unread.difference_update(units)
        if not self._unread:
            self._all_read.set()
