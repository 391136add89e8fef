"""The machines that run, and what is published of them."""

from collections.abc import Iterable, Set

from koi_agent.backends.machined.machines import BACKEND, UNKNOWN, Machine, Network, instance_of
from koi_agent.core.contracts import Deliver
from koi_agent.core.events import Gone, Seen
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, KoiMetadata
from koi_agent.host.owner_ports import HostPorts


@frozen()
class Known:
    """A machine, its network, and its instance as it was reported last."""

    machine: Machine
    network: Network
    instance: Instance


class MachineTable:
    """Machines by name; ``deliver`` gets each change.

    ``machines`` outlives a connection, so that the next one recognizes a different machine with a
    known name. A list reports what it adds or removes, except for machines that were delivered
    since ``list_requested``: the follower ignores the list for those.
    """

    def __init__(self, machines: dict[str, Known], deliver: Deliver, ports: HostPorts) -> None:
        self._machines = machines
        self._deliver = deliver
        self._ports = ports
        self._scanned: dict[str, Machine] = {}
        self._delivered: set[str] = set()
        for known in machines.values():
            self._follow_ports(known.machine, known.network)

    def __contains__(self, name: str) -> bool:
        return name in self._machines

    def __len__(self) -> int:
        return len(self._machines)

    @property
    def names(self) -> Set[str]:
        """The names of all machines."""
        return self._machines.keys()

    def get(self, name: str) -> Machine | None:
        """Return a machine, None if it is not known."""
        known = self._machines.get(name)
        return known.machine if known else None

    def at(self, path: str) -> str:
        """Return the name of the machine with an object path, or ""."""
        machines = (known.machine for known in self._machines.values())
        return next((machine.name for machine in machines if machine.path == path), "")

    def instances(self) -> list[Instance]:
        """Return the instances of all machines."""
        return [known.instance for known in self._machines.values()]

    def is_other_run(self, machine: Machine) -> bool:
        """Return True if a different machine is known by the name of this one."""
        before = self.get(machine.name)
        return before is not None and before.run != machine.run

    def put(self, machine: Machine) -> None:
        """Store a machine and deliver it, after the end of an earlier one with its name."""
        if self.is_other_run(machine):
            self.remove(machine.name, "restarted")
        self._store(machine, self._network(machine.name))
        self._deliver_known(machine.name)

    def list_requested(self) -> None:
        """Remember from now on which machines are delivered."""
        self._delivered.clear()

    def add_listed(self, machine: Machine) -> bool:
        """Store a machine of a list; return True for a new one, which the list itself reports."""
        is_new = machine.name not in self
        has_changed = self._store(machine, self._network(machine.name))
        if machine.name in self._delivered or (has_changed and not is_new):
            self._deliver_known(machine.name)
        return is_new

    def set_network(self, machine: Machine, network: Network, *, is_listed: bool = False) -> None:
        """Store the network of a machine, unless the known one is a different machine.

        With ``is_listed``, the list reports the machine. An answer that is not final does not
        replace known addresses.
        """
        now = self._machines.get(machine.name)
        if now is None or now.machine.run != machine.run:
            return
        is_known = now.network.ips or now.network.is_host
        if network.problem and not network.is_final and is_known:
            return
        is_reported = is_listed and machine.name not in self._delivered
        if self._store(now.machine, network) and not is_reported:
            self._deliver_known(machine.name)

    def republish(self, name: str) -> None:
        """Deliver a machine again if its ports have changed."""
        known = self._machines.get(name)
        if known and self._store(known.machine, known.network):
            self._deliver_known(name)

    def remove(self, name: str, reason: str) -> None:
        """Remove a machine and deliver its end: the registry may have it from before a loss."""
        self._discard(name)
        self._delivered.add(name)
        self._deliver(Gone(backend=BACKEND, id=name, reason=reason))

    def keep_listed(self, names: Iterable[str]) -> None:
        """Remove all machines that a list does not have."""
        for name in (self._machines.keys() | self._delivered) - set(names):
            if name in self._delivered:
                self.remove(name, "not listed")
            else:
                self._discard(name)

    def deliver_touched(self, names: Set[str]) -> None:
        """Deliver the machines for which a list does not count, if nothing else did."""
        for name in names & self._machines.keys() - self._delivered:
            self._deliver_known(name)

    def _discard(self, name: str) -> None:
        self._machines.pop(name, None)
        self._forget_ports(name)

    def _network(self, name: str) -> Network:
        known = self._machines.get(name)
        return known.network if known else UNKNOWN

    def _store(self, machine: Machine, network: Network) -> bool:
        """Store a machine; return True if its instance is new or has changed."""
        self._follow_ports(machine, network)
        before = self._machines.get(machine.name)
        instance = instance_of(machine, network, self._ports.ports_of(machine.name))
        self._machines[machine.name] = Known(machine, network, instance)
        return before is None or before.instance != instance

    def _deliver_known(self, name: str) -> None:
        self._delivered.add(name)
        self._deliver(Seen(self._machines[name].instance))

    def _follow_ports(self, machine: Machine, network: Network) -> None:
        """Scan for the listeners of a machine on the host's network; scan again for a new run."""
        if not (network.is_host and machine.control_group):
            self._forget_ports(machine.name)
        elif self._scanned.get(machine.name) != machine:
            self._scanned[machine.name] = machine
            self._ports.follow(machine.name, machine.control_group, KoiMetadata())

    def _forget_ports(self, name: str) -> None:
        if self._scanned.pop(name, None):
            self._ports.forget(name)
