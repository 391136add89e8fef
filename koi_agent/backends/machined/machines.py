"""A machine as systemd-machined describes it, and the instance that it becomes: pure rules."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Final, TypeVar

from koi_agent.config import MachinedConfig
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import (
    MAX_IPS,
    MORE_IPS,
    Health,
    Instance,
    InstanceState,
    KoiMetadata,
    PortMapping,
)
from koi_agent.core.text import UNSAFE, printable
from koi_agent.core.traits import HOST_MACHINE, MACHINE
from koi_agent.host.listeners import served
from koi_agent.host.sock_diag import Listener

T = TypeVar("T")

BACKEND: Final = "machined"
HOST_CLASS: Final = "host"
"""Class of ``.host``, the entry of the host itself."""
LONGEST_NAME: Final = 255
STATES: Final[Mapping[str, Health]] = {
    "opening": Health.STARTING,
    "running": Health.HEALTHY,
    "closing": Health.NONE,
}
"""Health by the state of a machine; with another state it is not known."""
_SHARED: Final = re.compile(r"user@[0-9]+\.service|session-.*\.scope|init\.scope|.*\.slice|")
"""Units that contain other workloads, too. Such a unit is not the machine."""
_SIZES: Final = {2: 4, 10: 16}
"""Bytes of an address, by its family: AF_INET and AF_INET6."""


@frozen(kw_only=True)
class Machine:
    """A machine as its properties describe it; ``path`` is its object's.

    ``unit`` is "" if the machine shares its unit with others. ``leader`` is the PID of its first
    process, or of the hypervisor. ``created_at`` is microseconds since the epoch.
    ``control_group`` is that of the unit, "" if it is not known.
    """

    name: str
    path: str
    kind: str
    state: str
    service: str = ""
    unit: str = ""
    leader: int = 0
    root_directory: str = ""
    created_at: int = 0
    control_group: str = ""

    @property
    def run(self) -> tuple[int, int, str]:
        """Values that distinguish a machine from an earlier one with the same name."""
        return self.created_at, self.leader, self.unit

    @property
    def is_container(self) -> bool:
        """True if the leader is in the network of the machine, which a hypervisor is not."""
        return self.kind == "container"

    @property
    def is_settled(self) -> bool:
        """True if the state lasts; systemd-machined does not signal the end of another one."""
        return self.state == "running"


@frozen(kw_only=True)
class Network:
    """The addresses of a machine.

    ``has_more`` is True if it has more addresses than ``MAX_IPS``, of which the others are left
    out. ``listening`` are the ports on which it listens at its own addresses, if they can be read.
    ``is_host`` is True on the host's network. ``problem`` is the reason why addresses are not
    known, and ``is_denied`` is True if an administrator should repair it. ``is_final`` is True if
    systemd-machined will give no other answer for this machine.
    """

    ips: tuple[str, ...] = ()
    has_more: bool = False
    listening: tuple[PortMapping, ...] = ()
    is_host: bool = False
    problem: str = ""
    is_denied: bool = False
    is_final: bool = False

    @property
    def is_separate(self) -> bool:
        """True if the machine certainly has a network of its own."""
        return not self.is_host and not self.problem


UNKNOWN: Final = Network()
"""The network of a machine before the first answer."""


def check_name(name: str) -> None:
    """Raise ``BadInput`` for a text that can't be the name of a machine."""
    if not name:
        raise BadInput("a machine without a name")
    if len(name) > LONGEST_NAME or UNSAFE.search(name):
        raise BadInput(f"a machine: {printable(name, 60)!r} can't be its name")


def is_selected(name: str, config: MachinedConfig) -> bool:
    """Return True if the settings select a machine of this name."""
    if any(fnmatchcase(name, pattern) for pattern in config.exclude_machines):
        return False
    return any(fnmatchcase(name, pattern) for pattern in config.machines)


def machine_from(name: str, path: str, properties: Mapping[str, object]) -> Machine:
    """Parse the properties of a machine; raise ``BadInput``. Properties may be missing."""
    unit = _get(properties, "Unit", "")
    return Machine(
        name=name,
        path=path,
        kind=printable(_get(properties, "Class", "")),
        state=printable(_get(properties, "State", "")),
        service=printable(_get(properties, "Service", "")),
        unit="" if _SHARED.fullmatch(unit) else printable(unit),
        leader=_get(properties, "Leader", 0),
        root_directory=printable(_get(properties, "RootDirectory", "")),
        created_at=_get(properties, "Timestamp", 0),
    )


def ports_from(listeners: Iterable[Listener], ephemeral: range) -> tuple[PortMapping, ...]:
    """Return the sorted ports that a machine serves at its own addresses."""
    ports = served(listeners, KoiMetadata(), ephemeral=ephemeral)
    return tuple(sorted({replace(port, host_port=0, host_ip="") for port in ports}))


def with_ports(network: Network, listening: tuple[PortMapping, ...]) -> Network:
    """Return a network with the ports on which the machine listens."""
    return replace(network, listening=listening)


def with_group(machine: Machine, group: str) -> Machine:
    """Return a machine with the control group of its unit."""
    return replace(machine, control_group=printable(group))


def _get(properties: Mapping[str, object], name: str, default: T) -> T:
    value = properties.get(name, default)
    if type(value) is not type(default):
        raise BadInput(f"{name}: expected {type(default).__name__}, got {type(value).__name__}")
    return value


def network_from(addresses: object) -> Network:
    """Return the network of an answer to GetAddresses; raise ``BadInput``."""
    found = ips_from(addresses)
    return Network(ips=found[:MAX_IPS], has_more=len(found) > MAX_IPS)


def ips_from(addresses: object) -> tuple[str, ...]:
    """Parse the answer to GetAddresses: sorted, without link-local addresses."""
    rows = addresses if isinstance(addresses, list) else []
    return tuple(sorted(set(_ips(rows))))


def _ips(rows: list[object]) -> Iterator[str]:
    for row in rows:
        if not (isinstance(row, (list, tuple)) and len(row) == 2):
            raise BadInput("an address is not a family with bytes")
        family, data = row
        if not (isinstance(family, int) and isinstance(data, bytes)):
            raise BadInput("an address is not a family with bytes")
        if _SIZES.get(family) != len(data):
            raise BadInput(f"an address of family {family} has {len(data)} bytes")
        address = ip_address(data)
        if not (address.is_link_local or address.is_loopback or address.is_unspecified):
            yield str(address)


def instance_of(
    machine: Machine, network: Network, host_ports: tuple[PortMapping, ...] = ()
) -> Instance:
    """Return the instance of a machine; on the host's network it listens on ``host_ports``."""
    return Instance(
        id=machine.name,
        name=machine.name,
        backend=BACKEND,
        state=InstanceState.RUNNING,
        state_detail=machine.state,
        image=machine.root_directory or machine.service,
        ports=host_ports if network.is_host else network.listening,
        ips=network.ips,
        health=STATES.get(machine.state, Health.UNKNOWN),
        unit=machine.unit,
        control_group=machine.control_group,
        main_pid=machine.leader,
        created_at=machine.created_at,
        notes=tuple(_notes(machine, network)),
        problems=(network.problem,) if network.is_denied else (),
        ending=machine.state == "closing",
        traits=HOST_MACHINE if network.is_host else MACHINE,
    )


def _notes(machine: Machine, network: Network) -> Iterator[str]:
    by = f" of {machine.service}" if machine.service else ""
    yield f"it is a {machine.kind or 'machine'}{by}, registered with systemd-machined"
    if network.is_host:
        yield "it is on the host's network: its ports are those that it listens on"
    if network.has_more:
        yield MORE_IPS
    if network.problem:
        yield f"its addresses are not known: {network.problem}"
    if not machine.unit:
        yield "its unit contains other workloads: metadata of the unit does not count"
