"""Units that contain a machine each. systemd-machined names them; systemd has their metadata.

Names do not tell: systemd-nspawn of systemd 262 starts the machine ``web`` in ``web.scope``.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterator


class MachineUnits:
    """The units of all machines that run; the backend of systemd-machined keeps them."""

    def __init__(self) -> None:
        self._units: dict[str, str] = {}
        self._machines = Counter[str]()
        self._watchers: list[Callable[[str], None]] = []

    def __contains__(self, unit: str) -> bool:
        return unit in self._machines

    def __iter__(self) -> Iterator[str]:
        return iter(self._machines)

    def put(self, machine: str, unit: str) -> None:
        """Store the unit of a machine, "" for none, instead of an earlier one."""
        before = self._units.get(machine, "")
        if unit == before:
            return
        if before:
            self.remove(machine)
        if unit:
            self._units[machine] = unit
            self._machines[unit] += 1
            self._report(unit)

    def remove(self, machine: str) -> None:
        """Remove the unit of a machine, if it has one."""
        if not (unit := self._units.pop(machine, "")):
            return
        self._machines[unit] -= 1
        if not self._machines[unit]:
            del self._machines[unit]
        self._report(unit)

    def keep(self, machines: Container[str]) -> None:
        """Remove the units of all machines but these."""
        for machine in [one for one in self._units if one not in machines]:
            self.remove(machine)

    def watch(self, on_change: Callable[[str], None]) -> None:
        """Call back with the name of each unit that is added or removed from now on."""
        self._watchers.append(on_change)

    def unwatch(self, on_change: Callable[[str], None]) -> None:
        """Call it back no longer."""
        self._watchers = [one for one in self._watchers if one != on_change]

    def _report(self, unit: str) -> None:
        for on_change in self._watchers:
            on_change(unit)
