"""What an engine says of a container, whichever answer said it, and what becomes of that.

A list says most of it for all containers at once, an inspection all of it for one. What both
say must come out the same, or each list would find differences that are none: so each fact has
one spelling here, and what never changes in a container's life is kept once it is known.
"""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from typing import Final

from koi_agent.backends.docker.answers import Answer, answer, inner, number, objects, text, texts
from koi_agent.backends.docker.events import Event, signal_number
from koi_agent.backends.docker.owners import Owned, owned
from koi_agent.backends.docker.ports import (
    Exposed,
    exposed_ports,
    inspected_ports,
    listed_ports,
    unpublished,
)
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Health, Instance, InstanceState, PortMapping
from koi_agent.core.text import printable

HOST: Final = "host"
JOINED: Final = "container:"

_ID: Final = re.compile("[A-Za-z0-9_.-]{1,128}")
_STATES: Final = {
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.RUNNING,  # Podman's, for one that was told to end
    "paused": InstanceState.PAUSED,
    "restarting": InstanceState.RESTARTING,
}
_OVER: Final = frozenset(
    {"created", "configured", "initialized", "exited", "stopped", "removing", "dead"}
)
_HEALTH: Final = {
    "starting": Health.STARTING,
    "health: starting": Health.STARTING,
    "healthy": Health.HEALTHY,
    "unhealthy": Health.UNHEALTHY,
}
_STATUS: Final = re.compile(r"\((healthy|unhealthy|health: starting)\)")
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What only an inspection tells; ``started_at`` is as the engine spells it.

    ``restart_policy`` is empty where the engine does not start it again by itself,
    ``stop_signal`` 0 where it is the usual one.
    """

    main_pid: int = 0
    control_group: str = ""
    cgroup_parent: str = ""
    started_at: str = ""
    restart_policy: str = ""
    restart_count: int = 0
    stop_signal: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as it is now.

    ``status`` is the engine's word for ``state``. ``network`` is ``host``, ``container:ID``, or
    empty for one of its own. ``ports`` are published; ``exposed`` are what its image names.
    ``created_at`` is microseconds since the epoch, in whole seconds, as lists have it.
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
    ips: tuple[str, ...] = ()
    created_at: int = 0
    owned: Owned = field(default_factory=Owned)
    inspected: Inspected | None = None


def listed(record: object, backend: str, known: Container | None) -> Container:
    """Read one element of a list; of ``known`` is taken what the list does not tell.

    Raises ``BadInput``.
    """
    said = answer(record)
    id_ = _id(said)
    status = text(said, "State").lower()
    ports, exposed = listed_ports(said)
    if known:
        exposed = known.exposed if known.inspected else exposed
    health, detail = _listed_health(text(said, "Status"), known)
    return Container(
        backend=backend,
        id=id_,
        name=_listed_name(said, id_),
        image=known.image if known else printable(text(said, "Image"), 512),
        state=_state(status),
        status=printable(status, 40),
        health=health,
        health_detail=detail,
        network=_network(text(inner(said, "HostConfig"), "NetworkMode")),
        ports=ports,
        exposed=exposed,
        ips=_ips(inner(said, "NetworkSettings")),
        created_at=known.created_at if known else number(said, "Created", 2**40) * 1_000_000,
        owned=known.owned if known else owned(inner(said, "Labels"), (), backend),
        inspected=known.inspected if known else None,
    )


def inspected(record: object, backend: str) -> Container:
    """Read an inspection; raises ``BadInput``."""
    said = answer(record)
    id_ = _id(said)
    config, host, state = inner(said, "Config"), inner(said, "HostConfig"), inner(said, "State")
    network = inner(said, "NetworkSettings")
    status = text(state, "Status").lower()
    health, detail = _inspected_health(inner(state, "Health") or inner(state, "Healthcheck"))
    return Container(
        backend=backend,
        id=id_,
        name=shown_name(text(said, "Name"), id_),
        image=printable(text(config, "Image") or text(said, "ImageName"), 512),
        state=_state(status),
        status=printable(status, 40),
        health=health,
        health_detail=detail,
        network=_network(text(host, "NetworkMode")),
        ports=inspected_ports(inner(network, "Ports")),
        exposed=exposed_ports(inner(config, "ExposedPorts")),
        ips=_ips(network),
        created_at=_seconds(text(said, "Created")) * 1_000_000,
        owned=owned(inner(config, "Labels"), texts(config, "Env"), backend),
        inspected=_inspected(said, config, host, state),
    )


def _inspected(said: Answer, config: Answer, host: Answer, state: Answer) -> Inspected:
    policy = text(inner(host, "RestartPolicy"), "Name")
    return Inspected(
        main_pid=number(state, "Pid", 2**22 + 1),
        control_group=text(state, "CgroupPath"),
        cgroup_parent=text(host, "CgroupParent"),
        started_at=text(state, "StartedAt")[:64],
        restart_policy="" if policy == "no" else policy[:40],
        restart_count=number(said, "RestartCount"),
        stop_signal=_stop_signal(config),
    )


def _stop_signal(config: Answer) -> int:
    """Read a signal that Docker writes as a word and Podman as a number."""
    return number(config, "StopSignal", 65) or signal_number(text(config, "StopSignal"))


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
        notes=mine.notes,
    )


def _ports(
    container: Container, host_ports: tuple[PortMapping, ...], joined: Container | None
) -> tuple[PortMapping, ...]:
    """Tell all ports, in order.

    On the host's network what the image exposes says little, once it is known who listens. In
    another's network, ports are published by that one, and which are whose only the image says.
    """
    metadata = container.owned.metadata
    if container.network == HOST:
        exposed = frozenset() if host_ports else container.exposed
        own = unpublished(host_ports, exposed, metadata)
        return tuple(sorted([*host_ports, *(replace(p, host_port=p.container_port) for p in own)]))
    published = container.ports
    if joined:
        wanted = container.exposed or frozenset(
            (p.container_port, p.protocol) for p in joined.ports
        )
        published = tuple(p for p in joined.ports if (p.container_port, p.protocol) in wanted)
    return tuple(sorted([*published, *unpublished(published, container.exposed, metadata)]))


def _id(said: Answer) -> str:
    id_ = text(said, "Id")
    if not _ID.fullmatch(id_):
        raise BadInput("it has no id that could be one")
    return id_


def _listed_name(said: Answer, id_: str) -> str:
    """Choose the container's own name; with links it has those of others to it, too."""
    names = sorted(texts(said, "Names"), key=lambda name: (name.count("/"), name))
    return shown_name(names[0] if names else "", id_)


def shown_name(name: str, id_: str) -> str:
    """Make a name fit to be shown, whatever it holds; one without is called by its id."""
    return printable(name.removeprefix("/"), 253) or id_[:12]


def _state(status: str) -> InstanceState:
    if status in _OVER:
        return InstanceState.STOPPED
    return _STATES.get(status, InstanceState.UNKNOWN)


def _listed_health(status: str, known: Container | None) -> tuple[Health, str]:
    """Read health from a text like ``Up 2 minutes (healthy)``; paused ones don't tell theirs."""
    found = _STATUS.search(status)
    if not found:
        return (known.health, known.health_detail) if known else (Health.NONE, "")
    health = _HEALTH[found[1]]
    same = known and known.health is health
    return health, known.health_detail if known and same else ""


def _inspected_health(said: Answer) -> tuple[Health, str]:
    health = _HEALTH.get(text(said, "Status"), Health.NONE)
    if health is not Health.UNHEALTHY:
        return health, ""
    last = list(objects(said, "Log"))[-1:]
    code = number(last[0], "ExitCode") if last else 0
    return health, f"the last check exited with {code}" if code else "checks fail"


def _network(mode: str) -> str:
    """Keep of a network mode what decides where ports are."""
    return mode[:160] if mode == HOST or mode.startswith(JOINED) else ""


def _ips(said: Answer) -> tuple[str, ...]:
    """Take the addresses in all networks, in the order of their names, IPv4 before IPv6."""
    networks = inner(said, "Networks")
    addresses = [
        text(inner(networks, name), key)
        for name in sorted(networks)
        for key in ("IPAddress", "GlobalIPv6Address")
    ]
    return tuple(dict.fromkeys(address for address in addresses if _is_address(address)))


def _is_address(text: str) -> bool:
    try:
        return bool(text) and not ip_address(text).is_unspecified
    except ValueError:
        return False


def _seconds(time: str) -> int:
    """Read RFC 3339, to the second; 0 is what can't be read."""
    found = _TIME.fullmatch(time)
    try:
        return max(int(datetime.fromisoformat(found[1] + found[2]).timestamp()), 0) if found else 0
    except (ValueError, OverflowError):
        return 0
