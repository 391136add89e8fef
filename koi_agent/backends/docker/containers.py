"""Containers as values, parsed from the engine's lists, inspections and events.

A list has most facts of all containers, an inspection has all facts of one container. A fact in
both must be parsed to equal values, or each list would find differences that do not exist. Facts
that never change in a container's life are kept once they are known.
"""

import re
from dataclasses import field, replace
from sys import intern
from typing import Final

from koi_agent.backends.docker.events import Event, signal_number
from koi_agent.backends.docker.health import health_from_inspection, health_from_status
from koi_agent.backends.docker.kinds import Kind
from koi_agent.backends.docker.labels import ContainerLabels, check_name, parse_labels
from koi_agent.backends.docker.ports import (
    NO_PORTS,
    Ports,
    PortSet,
    ports_from_inspection,
    ports_from_list,
)
from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    as_object,
    get_id,
    get_int,
    get_ip,
    get_object,
    get_str,
    get_strs,
    get_time,
)
from koi_agent.core.copies import Copier
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Health, InstanceState, PortMapping
from koi_agent.core.text import printable

HOST: Final = "host"
JOINED: Final = "container:"

_STATES: Final = {
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.RUNNING,  # Podman's, between the stop signal and the end
    "paused": InstanceState.PAUSED,
    "restarting": InstanceState.RESTARTING,
}
_STOPPED: Final = frozenset(
    {"created", "configured", "initialized", "exited", "stopped", "removing", "dead"}
)
_NO_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_PID_LIMIT: Final = 2**22 + 1  # the kernel's PID_MAX_LIMIT, and one
_GROUP: Final = re.compile("[!-~]{1,1000}")


@frozen(kw_only=True)
class Inspected:
    """The facts that only an inspection has; ``started_at`` is as the engine writes it.

    ``restart_policy`` is empty if the engine does not restart the container by itself,
    ``stop_signal`` is 0 for the usual one. ``ingress`` are ports that its service publishes.
    ``exit_code`` is that of the last run.
    """

    main_pid: int = 0
    control_group: str = ""
    started_at: str = ""
    restart_policy: str = ""
    restart_count: int = 0
    stop_signal: int = 0
    exit_code: int | None = None
    ingress: tuple[PortMapping, ...] = ()


@frozen(kw_only=True)
class Container:
    """A container as it is now.

    ``status`` is the engine's word for ``state``. ``network`` is ``host``, ``container:ID``, or
    empty for one of its own. ``ports`` are published, ``exposed`` are named by the image besides,
    ``unsupported_ports`` can't be announced. ``created_at`` is microseconds since the epoch, in
    whole seconds, as lists have it. Before the first inspection ``inspected`` is empty.
    """

    id: str
    name: str
    image: str = ""
    state: InstanceState
    status: str = ""
    health: Health = Health.NONE
    health_detail: str = ""
    network: str = ""
    ports: tuple[PortMapping, ...] = ()
    exposed: PortSet = NO_PORTS
    unsupported_ports: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    created_at: int = 0
    labels: ContainerLabels = field(default_factory=ContainerLabels)
    inspected: Inspected | None = None


copied: Final = Copier(Container)
"""Returns a copy of a container with some fields changed."""


def container_from_list(value: object, kind: Kind, known: Container | None) -> Container:
    """Parse one element of a list; raise ``BadInput``.

    Facts that never change, and facts that a list lacks, are copied from ``known``.
    """
    record = as_object(value)
    id_, status = get_id(record, "Id"), _status(record, "State")
    ports, last_run = ports_from_list(record), known
    if known is None or known.inspected is None:
        known = _first_known(record, id_, kind, ports, known)
    before = (known.health, known.health_detail)
    health, health_detail = health_from_status(get_str(record, "Status"), before)
    container = Container(
        id=id_,
        name=_name_in_list(record, id_),
        image=known.image,
        state=_state(status),
        status=status,
        health=health,
        health_detail=health_detail,
        network=known.network,
        ports=ports.published if kind.has_complete_lists else known.ports,
        exposed=known.exposed,
        unsupported_ports=known.unsupported_ports,
        ips=_ips(get_object(record, "NetworkSettings")),
        created_at=known.created_at,
        labels=known.labels,
        inspected=known.inspected,
    )
    return with_last_run(container, last_run)


def with_last_run(now: Container, last: Container | None) -> Container:
    """Return a container that waits for a restart with the ports and addresses of its last run.

    The engine takes these away between two runs.
    """
    if now.state is not InstanceState.RESTARTING or last is None:
        return now
    return copied(now, ports=last.ports or now.ports, ips=last.ips or now.ips)


def _first_known(
    record: JSONObject, id_: str, kind: Kind, ports: Ports, from_event: Container | None
) -> Container:
    """Return the facts of a list's record that later only an inspection changes."""
    mode = (
        get_str(get_object(record, "HostConfig"), "NetworkMode") if kind.has_complete_lists else ""
    )
    return Container(
        id=id_,
        name="",
        image=from_event.image if from_event else _image(get_str(record, "Image")),
        state=InstanceState.UNKNOWN,
        health=from_event.health if from_event else Health.NONE,
        health_detail=from_event.health_detail if from_event else "",
        network=_network(mode),
        ports=ports.published,
        exposed=ports.exposed,
        unsupported_ports=ports.unsupported,
        created_at=get_int(record, "Created", 2**40) * 1_000_000,
        labels=parse_labels(get_object(record, "Labels"), (), kind),
    )


def container_from_inspection(
    value: object, kind: Kind, known: ContainerLabels | None = None
) -> Container:
    """Parse an inspection; raise ``BadInput``. Labels that are known are not parsed again."""
    record = as_object(value)
    id_ = get_id(record, "Id")
    config, state = get_object(record, "Config"), get_object(record, "State")
    network, status = get_object(record, "NetworkSettings"), _status(state, "Status")
    mode = get_str(get_object(record, "HostConfig"), "NetworkMode")
    exposed = get_object(config, "ExposedPorts")
    if not exposed and not mode.startswith(JOINED):  # Podman 4 names them only here
        exposed = get_object(network, "Ports")
    ports = ports_from_inspection(_bound(record, status), exposed)
    health, health_detail = health_from_inspection(
        get_object(state, "Health") or get_object(state, "Healthcheck")
    )
    return Container(
        id=id_,
        name=shown_name(get_str(record, "Name"), id_),
        image=_image(get_str(config, "Image") or get_str(record, "ImageName")),
        state=_state(status),
        status=status,
        health=health,
        health_detail=health_detail,
        network=_network(mode),
        ports=ports.published,
        exposed=ports.exposed,
        unsupported_ports=ports.unsupported,
        ips=_ips(network),
        created_at=get_time(record, "Created") * 1_000_000,
        labels=known or parse_labels(get_object(config, "Labels"), get_strs(config, "Env"), kind),
        inspected=_inspected(record),
    )


def _bound(record: JSONObject, status: str) -> JSONObject:
    """Return the published ports; between two runs they are those that were requested."""
    bound = get_object(get_object(record, "NetworkSettings"), "Ports")
    if bound or _state(status) is not InstanceState.RESTARTING:
        return bound
    return get_object(get_object(record, "HostConfig"), "PortBindings")


def _inspected(record: JSONObject) -> Inspected:
    config, state = get_object(record, "Config"), get_object(record, "State")
    host = get_object(record, "HostConfig")
    policy = get_str(get_object(host, "RestartPolicy"), "Name")
    return Inspected(
        main_pid=get_int(state, "Pid", _PID_LIMIT),
        control_group=_group(get_str(state, "CgroupPath")),
        started_at=get_str(state, "StartedAt")[:64],
        restart_policy="" if policy == "no" else policy[:40],
        restart_count=get_int(record, "RestartCount"),
        # Docker writes a word, Podman a number or a word.
        stop_signal=get_int(config, "StopSignal", 65)
        or signal_number(get_str(config, "StopSignal")),
        exit_code=get_int(state, "ExitCode", 256) if "ExitCode" in state else None,
    )


def _group(path: str) -> str:
    """Return the path of a control group or the name of a slice if it is safe to open."""
    return path if _GROUP.fullmatch(path) and ".." not in path.split("/") else ""


def container_from_start(event: Event, kind: Kind) -> Container:
    """Return the container of a start event, if it could not be inspected in time."""
    return Container(
        id=event.id,
        name=shown_name(event.name, event.id),
        image=_image(event.image),
        state=InstanceState.RUNNING,
        status="running",
        created_at=event.time // 1_000_000_000 * 1_000_000,
        labels=replace(parse_labels(event.labels, (), kind), is_final=False),
    )


def _name_in_list(record: JSONObject, id_: str) -> str:
    """Return the container's own name; links give it further names, below other containers."""
    names = get_strs(record, "Names")
    return shown_name(min(names, key=lambda name: (name.count("/"), name), default=""), id_)


def shown_name(name: str, id_: str) -> str:
    """Return a name that can be shown, or the id as engines shorten it."""
    name = name.removeprefix("/")
    try:
        return check_name(name)
    except BadInput:
        return id_[:12]


def _image(name: str) -> str:
    """Return the name of an image, of which thousands of containers share one object."""
    return intern(printable(name, 512))


def _status(record: JSONObject, key: str) -> str:
    status = printable(get_str(record, key).lower(), 40)
    if not status:
        raise BadInput(f"{key}: no state")
    return intern(status)


def _state(status: str) -> InstanceState:
    if status in _STOPPED:
        return InstanceState.STOPPED
    return _STATES.get(status, InstanceState.UNKNOWN)


def _network(mode: str) -> str:
    """Return a network mode if it decides where ports are, or ""."""
    return mode[:160] if mode == HOST or mode.startswith(JOINED) else ""


def _ips(settings: JSONObject) -> tuple[str, ...]:
    """Return the addresses in all networks by the networks' names, IPv4 before IPv6."""
    networks = get_object(settings, "Networks")
    found: dict[str, None] = {}
    for name in sorted(networks):
        network = get_object(networks, name)
        found[get_ip(network, "IPAddress")] = None
        found[get_ip(network, "GlobalIPv6Address")] = None
    return tuple(ip for ip in found if ip not in _NO_ADDRESS)
