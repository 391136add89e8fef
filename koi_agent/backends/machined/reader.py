"""Reads machines from systemd-machined: their properties, control groups and addresses."""

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from typing import Final

from koi_agent.backends.machined.address_schedule import AddressSchedule
from koi_agent.backends.machined.machines import (
    Machine,
    Network,
    machine_from,
    network_from,
    ports_from,
    with_group,
    with_ports,
)
from koi_agent.backends.machined.manager import Manager, batches
from koi_agent.backends.machined.read_queue import ReadQueue
from koi_agent.backends.machined.table import MachineTable
from koi_agent.core.errors import BadInput
from koi_agent.host.listeners import ephemeral_ports
from koi_agent.host.machine_units import MachineUnits
from koi_agent.host.namespace_addresses import addresses_of
from koi_agent.host.namespace_listeners import listeners_of

log = logging.getLogger(__name__)

MAX_COMPLAINTS: Final = 100
"""Maximum number of kinds of bad records that are logged in one connection."""
LIST_PATIENCE: Final = 15.0
"""Seconds that a list waits for addresses. The remaining machines are asked later."""

Outcome = Machine | BadInput | None
"""A machine, the reason why its properties can't be used, or None if it is gone."""


class Reader:
    """Reads what ``queue`` and ``schedule`` request into the table; raises ``BackendLost``."""

    def __init__(
        self,
        manager: Manager,
        table: MachineTable,
        queue: ReadQueue,
        schedule: AddressSchedule,
        units: MachineUnits,
    ) -> None:
        self._manager = manager
        self._table = table
        self._queue = queue
        self._schedule = schedule
        self._units = units
        self._ephemeral = ephemeral_ports()
        self._complaints: set[str] = set()

    def complain(self, text: str) -> None:
        """Log what is wrong with a record, once."""
        if text not in self._complaints and len(self._complaints) < MAX_COMPLAINTS:
            self._complaints.add(text)
            log.warning("machined: ignored %s", text)

    async def read_changed(self) -> None:
        """Wait for machines that have changed, and read them."""
        taken = await self._queue.next()
        outcomes = await self.read(taken)
        await self._put_units(one for name, one in outcomes.items() if self._queue.is_current(name))
        for name, outcome in outcomes.items():
            if self._queue.is_current(name):
                self._apply(name, outcome)

    async def _put_units(self, outcomes: Iterable[Outcome]) -> None:
        """Store the units of machines first: a new machine has its metadata from the start."""
        machines = [one for one in outcomes if isinstance(one, Machine) and one.unit]
        await self._units.put({one.name: one.unit for one in machines}, self._table.names)

    def _apply(self, name: str, outcome: Outcome) -> None:
        match outcome:
            case Machine():
                self._table.put(outcome)
            case BadInput():
                self.complain(f"machine {name}: {outcome}")
            case None:
                self._schedule.forget(name)
                self._table.remove(name, "removed")

    async def read(self, paths: dict[str, str]) -> dict[str, Outcome]:
        """Return some machines by name; ``paths`` are those of their objects."""
        found: dict[str, Outcome] = {}
        for batch in batches(list(paths.items())):
            answers = await self._manager.read([path for _, path in batch])
            outcomes = {
                name: _parsed(name, path, answer)
                for (name, path), answer in zip(batch, answers, strict=True)
            }
            found |= await self._with_groups(outcomes)
        return found

    async def _with_groups(self, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
        """Return machines with the control groups of their units, which are read once."""
        machines = [one for one in outcomes.values() if isinstance(one, Machine) and one.unit]
        groups = {one.name: self._known_group(one) for one in machines}
        unknown = [one for one in machines if not groups[one.name]]
        if unknown:
            read = await self._manager.control_groups([one.unit for one in unknown])
            groups |= {one.name: group for one, group in zip(unknown, read, strict=True)}
        return outcomes | {one.name: with_group(one, groups[one.name]) for one in machines}

    def _known_group(self, machine: Machine) -> str:
        known = self._table.get(machine.name)
        return known.control_group if known and known.run == machine.run else ""

    async def look(self) -> None:
        """Wait for machines whose addresses are due, and read them."""
        due = await self._schedule.due()
        machines = [machine for machine in map(self._table.get, due) if machine]
        for name in due:
            if name not in self._table:  # it is being read
                self._schedule.again(name)
        for batch in batches(machines):
            await self._look_at(batch)

    async def _networks(self, machines: Sequence[Machine]) -> list[Network | None]:
        """Return the networks of some machines, with the ports that they listen on."""
        networks = await self._manager.networks(machines)
        pairs = list(zip(machines, networks, strict=True))
        return await asyncio.to_thread(lambda: [self._completed(*pair) for pair in pairs])

    def _completed(self, machine: Machine, network: Network | None) -> Network | None:
        """Return a network with what ``/proc`` shows of it; None if the machine is gone."""
        if network is None or not machine.is_container:
            return network
        if network.is_denied and (rows := addresses_of(machine.leader)) is not None:
            # Those of this host: the machine has no network of its own.
            is_host = rows == addresses_of(os.getpid())
            network = Network(is_host=True, is_final=True) if is_host else network_from(rows)
        if not network.is_separate:
            return network
        return with_ports(network, ports_from(listeners_of(machine.leader), self._ephemeral))

    async def _look_at(self, machines: Sequence[Machine]) -> None:
        networks = await self._networks(machines)
        for machine, network in zip(machines, networks, strict=True):
            if network is None:  # a signal reports its end, or another machine has its name now
                self._schedule.again(machine.name)
                continue
            self._table.set_network(machine, network)
            if not machine.is_settled:
                self._queue.put(machine.name, machine.path)
                self._schedule.again(machine.name)
            elif network.ips:
                self._schedule.finish(machine.name)
            elif not network.is_final:
                self._schedule.again(machine.name)

    async def read_listed(self, paths: dict[str, str], touched: set[str]) -> set[str]:
        """Read all machines of a list; those that signals have ``touched`` are left out.

        Returns the names of machines that are gone.
        """
        new: set[str] = set()
        outcomes = await self.read(paths)
        await self._put_units(one for name, one in outcomes.items() if name not in touched)
        for name, outcome in outcomes.items():
            if name not in touched:
                if self._add_listed(name, outcome):
                    new.add(name)
            elif isinstance(outcome, Machine) and self._table.is_other_run(outcome):
                self._table.remove(name, "restarted")
        until = asyncio.get_running_loop().time() + LIST_PATIENCE
        listed = [self._table.get(name) for name in paths]
        for batch in batches([one for one in listed if one and one.name not in touched]):
            if asyncio.get_running_loop().time() < until:
                await self._read_listed_networks(batch, new)
        for name in new - touched:
            self._schedule.start(name)
        return {name for name, outcome in outcomes.items() if outcome is None}

    def _add_listed(self, name: str, outcome: Outcome) -> bool:
        """Store a machine of a list; return True if it is new."""
        match outcome:
            case Machine():
                if not self._table.is_other_run(outcome):
                    return self._table.add_listed(outcome)
                # Its end and its start are reported after the list.
                self._queue.put(name, outcome.path)
                self._schedule.start(name)
            case BadInput():
                self.complain(f"machine {name}: {outcome}")
            case None:
                pass
        return False

    async def _read_listed_networks(self, machines: Sequence[Machine], new: set[str]) -> None:
        networks = await self._networks(machines)
        for machine, network in zip(machines, networks, strict=True):
            if network:
                self._table.set_network(machine, network, is_listed=machine.name in new)


def _parsed(name: str, path: str, answer: dict[str, object] | BadInput | None) -> Outcome:
    if not isinstance(answer, dict):
        return answer
    try:
        return machine_from(name, path, answer)
    except BadInput as bad:
        return bad
