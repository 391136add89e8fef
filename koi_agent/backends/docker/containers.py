"""What an engine says of a container, whichever answer said it, and what becomes of that.

A list says most of it for all containers at once, an inspection all of it for one. What both
say must come out the same, or each list would find differences that are none: so each fact has
one spelling here, and what never changes in a container's life is kept once it is known.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from koi_agent.backends.docker.events import Event
from koi_agent.backends.docker.health import inspected_health, listed_health
from koi_agent.backends.docker.inspections import Inspected, inspection
from koi_agent.backends.docker.labels import ContainerLabels, name_of, owned
from koi_agent.backends.docker.ports import (
    Exposed,
    Ports,
    inspected_ports,
    listed_ports,
    named,
    unpublished,
)
from koi_agent.backends.http_engine.json_fields import (
    Answer,
    address,
    answer,
    container_id,
    inner,
    number,
    seconds,
    text,
    texts,
)
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Health, Instance, InstanceState, PortMapping
from koi_agent.core.text import printable

_LEFT_OUT: Final = "port {} is left out: it is neither TCP nor UDP"
HOST: Final = "host"
JOINED: Final = "container:"

_STATES: Final = {
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.RUNNING,  # Podman's, for one that was told to end
    "paused": InstanceState.PAUSED,
    "restarting": InstanceState.RESTARTING,
}
_OVER: Final = frozenset(
    {"created", "configured", "initialized", "exited", "stopped", "removing", "dead"}
)
_NO_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as it is now.

    ``status`` is the engine's word for ``state``. ``network`` is ``host``, ``container:ID``, or
    empty for one of its own. ``ports`` are published, ``exposed`` those that its image names
    besides, and ``left_out`` those that can't be announced. ``created_at`` is microseconds
    since the epoch, in whole seconds, as lists have it.
    """

    backend: str
    id: str
    name: str
    image: str = ""
    state: InstanceState
    status: str = ""
    health: Health = Health.NONE
    health_detail: str = ""
    network: str = ""
    ports: tuple[PortMapping, ...] = ()
    exposed: Exposed = frozenset()
    left_out: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    created_at: int = 0
    owned: ContainerLabels = field(default_factory=ContainerLabels)
    inspected: Inspected | None = None


def listed(record: object, backend: str, known: Container | None) -> Container:
    """Read one element of a list; what never changes, or is not told, is taken of ``known``.

    Raises ``BadInput``.
    """
    said = answer(record)
    id_, status = container_id(said, "Id"), _status(said, "State")
    found = listed_ports(said)
    if known is None or known.inspected is None:
        known = _first_known(said, id_, backend, found, known)
    health = listed_health(text(said, "Status"), (known.health, known.health_detail))
    return Container(
        backend=backend,
        id=id_,
        name=_listed_name(said, id_),
        image=known.image,
        state=_state(status),
        status=status,
        health=health[0],
        health_detail=health[1],
        network=known.network,
        ports=known.ports if backend == "podman" else found.published,
        exposed=known.exposed,
        left_out=known.left_out,
        ips=_ips(inner(said, "NetworkSettings")),
        created_at=known.created_at,
        owned=known.owned,
        inspected=known.inspected,
    )


def _first_known(
    said: Answer, id_: str, backend: str, found: Ports, heard_of: Container | None
) -> Container:
    """Make of a list what only an inspection tells in full.

    Podman's list names no network mode, or ``host`` for all, and of a range of ports the first.
    """
    network = "" if backend == "podman" else text(inner(said, "HostConfig"), "NetworkMode")
    return Container(
        backend=backend,
        id=id_,
        name="",
        image=heard_of.image if heard_of else printable(text(said, "Image"), 512),
        state=InstanceState.UNKNOWN,
        health=heard_of.health if heard_of else Health.NONE,
        health_detail=heard_of.health_detail if heard_of else "",
        network=_network(network),
        ports=found.published,
        exposed=found.exposed,
        left_out=found.left_out,
        created_at=number(said, "Created", 2**40) * 1_000_000,
        owned=owned(inner(said, "Labels"), (), backend),
    )


def inspected(record: object, backend: str) -> Container:
    """Read an inspection; raises ``BadInput``."""
    said = answer(record)
    id_ = container_id(said, "Id")
    config, state = inner(said, "Config"), inner(said, "State")
    network, status = inner(said, "NetworkSettings"), _status(state, "Status")
    mode, exposed = text(inner(said, "HostConfig"), "NetworkMode"), inner(config, "ExposedPorts")
    if not exposed and not mode.startswith(JOINED):  # Podman 4 names them here alone
        exposed = inner(network, "Ports")
    ports = inspected_ports(inner(network, "Ports"), exposed)
    health = inspected_health(inner(state, "Health") or inner(state, "Healthcheck"))
    return Container(
        backend=backend,
        id=id_,
        name=shown_name(text(said, "Name"), id_),
        image=printable(text(config, "Image") or text(said, "ImageName"), 512),
        state=_state(status),
        status=status,
        health=health[0],
        health_detail=health[1],
        network=_network(mode),
        ports=ports.published,
        exposed=ports.exposed,
        left_out=ports.left_out,
        ips=_ips(network),
        created_at=seconds(said, "Created") * 1_000_000,
        owned=owned(inner(config, "Labels"), texts(config, "Env"), backend),
        inspected=inspection(said),
    )


def heard(event: Event, backend: str) -> Container:
    """Make what can be made of a start that nobody could look at in time."""
    return Container(
        backend=backend,
        id=event.id,
        name=shown_name(event.name, event.id),
        image=printable(event.image, 512),
        state=InstanceState.RUNNING,
        status="running",
        created_at=event.time // 1_000_000_000 * 1_000_000,
        owned=owned(event.labels, (), backend),
    )


def instance(
    container: Container,
    *,
    host_ports: tuple[PortMapping, ...] = (),
    joined: Container | None = None,
) -> Instance:
    """Make the instance of a container.

    ``host_ports`` are what one on the host's network listens on, ``joined`` is the container
    in whose network this one is.
    """
    mine, details = container.owned, container.inspected or Inspected()
    return Instance(
        id=container.id,
        name=mine.service or container.name,
        backend=container.backend,
        state=container.state,
        state_detail=container.status,
        image=container.image,
        ports=_ports(container, host_ports, joined),
        ips=joined.ips if joined else container.ips,
        metadata=mine.metadata,
        health=container.health,
        health_detail=container.health_detail,
        unit=mine.unit,
        control_group=details.control_group,
        main_pid=details.main_pid,
        created_at=container.created_at,
        project=mine.project,
        replica=mine.replica,
        notes=mine.notes + tuple(_LEFT_OUT.format(port) for port in container.left_out),
    )


def _ports(
    container: Container, host_ports: tuple[PortMapping, ...], joined: Container | None
) -> tuple[PortMapping, ...]:
    """Tell all ports, in order.

    On the host's network what the image exposes says little, once it is known who listens.
    """
    metadata = container.owned.metadata
    if HOST in (container.network, joined and joined.network):
        exposed = frozenset() if host_ports else container.exposed
        own = unpublished(host_ports, exposed, metadata)
        return tuple(sorted([*host_ports, *(replace(p, host_port=p.container_port) for p in own)]))
    published = _shared(container, joined) if joined else container.ports
    return tuple(sorted([*published, *unpublished(published, container.exposed, metadata)]))


def _shared(container: Container, joined: Container) -> tuple[PortMapping, ...]:
    """Choose what one container serves of the ports that another publishes for it.

    Which are whose only the image and the owner say; where they are silent, it may be any.
    """
    mine = container.exposed | named(container.owned.metadata)
    return tuple(p for p in joined.ports if not mine or (p.container_port, p.protocol) in mine)


def _listed_name(said: Answer, id_: str) -> str:
    """Choose the container's own name; with links it has those of others to it, too."""
    names = sorted(texts(said, "Names"), key=lambda name: (name.count("/"), name))
    return shown_name(names[0] if names else "", id_)


def shown_name(name: str, id_: str) -> str:
    """Take a name that can be shown; one without is called by its id, as engines shorten it."""
    name = name.removeprefix("/")
    try:
        return name_of(name)
    except BadInput:
        return id_[:12]


def _status(said: Answer, key: str) -> str:
    status = printable(text(said, key).lower(), 40)
    if not status:
        raise BadInput("it does not say its state")
    return status


def _state(status: str) -> InstanceState:
    if status in _OVER:
        return InstanceState.STOPPED
    return _STATES.get(status, InstanceState.UNKNOWN)


def _network(mode: str) -> str:
    """Keep of a network mode what decides where ports are."""
    return mode[:160] if mode == HOST or mode.startswith(JOINED) else ""


def _ips(said: Answer) -> tuple[str, ...]:
    """Take the addresses in all networks, in the order of their names, IPv4 before IPv6."""
    networks = inner(said, "Networks")
    found: dict[str, None] = {}
    for name in sorted(networks):
        network = inner(networks, name)
        found[address(network, "IPAddress")] = None
        found[address(network, "GlobalIPv6Address")] = None
    return tuple(ip for ip in found if ip not in _NO_ADDRESS)
