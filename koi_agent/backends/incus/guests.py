"""Instances of Incus or LXD as values, parsed from the server's responses.

A list and the response for one instance have the same form, so their instances can be compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from itertools import chain, islice
from typing import Final

from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    as_object,
    get_int,
    get_object,
    get_str,
    get_time,
)
from koi_agent.backends.incus.addresses import addresses_of, has_network_device
from koi_agent.backends.incus.forwards import Forwards
from koi_agent.backends.incus.projects import Projects
from koi_agent.backends.incus.proxies import MAX_PORTS, proxy_ports
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import (
    MAX_IPS,
    MORE_IPS,
    Instance,
    InstanceState,
    KoiMetadata,
    PortMapping,
    Refusal,
    copied,
)
from koi_agent.core.metadata.keys import CONFIG_KEY
from koi_agent.core.metadata.parser import from_config_keys
from koi_agent.core.ports import declared, merge_binds
from koi_agent.core.text import printable
from koi_agent.core.traits import Traits
from koi_agent.host.incus import is_instance_name, is_project_name
from koi_agent.host.lxc_groups import payload_group

_STATES: Final = {
    "Running": InstanceState.RUNNING,
    "Ready": InstanceState.RUNNING,
    "Freezing": InstanceState.RUNNING,
    "Thawed": InstanceState.RUNNING,
    "Stopping": InstanceState.RUNNING,
    "Aborting": InstanceState.RUNNING,
    "Frozen": InstanceState.PAUSED,
    "Stopped": InstanceState.STOPPED,
    "Starting": InstanceState.STOPPED,  # the event comes when the instance runs
}
TRAITS: Final = Traits(opt_in="user.koi.enable=true in its configuration or in a profile")
_REFUSED: Final = (
    Refusal(
        key=f"{CONFIG_KEY.prefix}*",
        reason="the project belongs to an unprivileged user; to trust it, name it in Projects=",
    ),
)
_PID_LIMIT: Final = 2**22 + 1  # the kernel's PID_MAX_LIMIT, and one
_CONTAINER: Final = "container"
_MAX_TEXT: Final = 253
MORE_PORTS: Final = f"it has more than {MAX_PORTS} ports; the others are left out"


@frozen(kw_only=True)
class Place:
    """The origin of a response.

    ``backend`` is the name of the backend, ``member`` that of this server in its cluster, or
    "". ``forwards`` are the ports that the server's networks forward. ``projects`` are followed.
    """

    backend: str
    member: str
    forwards: Forwards
    projects: Projects = field(default_factory=Projects)


@frozen(kw_only=True)
class Guest:
    """An instance as it is now, ``run`` being the time of its start as the server writes it.

    ``started_at`` is that time in seconds since the epoch, or 0. ``awaits_address`` is True if it
    has a network device and no address yet.
    """

    instance: Instance
    run: str
    started_at: int = 0
    awaits_address: bool = False

    @property
    def is_here(self) -> bool:
        """True if it runs or is paused."""
        return self.instance.state is not InstanceState.STOPPED


def guest_id(value: object) -> str:
    """Return the id in a record; raise ``BadInput``."""
    record = as_object(value)
    # Without projects, as in the response for one instance of some versions, there is no name.
    project, name = get_str(record, "project") or "default", get_str(record, "name")
    if not is_instance_name(name):
        raise BadInput("name: not that of an instance")
    if not is_project_name(project):
        raise BadInput("project: not that of a project")
    return f"{project}/{name}"


def parse_guest(value: object, place: Place) -> Guest:
    """Parse a record; raise ``BadInput`` if it is not that of an instance."""
    record, id_ = as_object(value), guest_id(value)
    status = get_str(record, "status")
    state = _STATES.get(status, InstanceState.UNKNOWN)
    if place.member and get_str(record, "location") != place.member:
        state = InstanceState.STOPPED  # it runs, or will run, on another member of the cluster
    if state is InstanceState.STOPPED:
        return Guest(instance=_unknown(id_, place.backend, state), run="")
    if not status or not isinstance(record.get("state"), dict):
        raise BadInput("status or state: missing")
    instance = _instance(id_, state, record, place)
    return Guest(
        instance=instance,
        run=get_str(record, "last_used_at"),
        started_at=get_time(record, "last_used_at"),
        awaits_address=not instance.ips and has_network_device(record),
    )


def _instance(id_: str, state: InstanceState, record: JSONObject, place: Place) -> Instance:
    config = get_object(record, "expanded_config")
    texts = {key: text for key, text in config.items() if isinstance(text, str)}
    project, _, name = id_.partition("/")
    metadata = _metadata(config, is_trusted=place.projects.trust(project))
    found = addresses_of(record)
    ips = found[:MAX_IPS]
    published, has_more = _published(record, metadata, ips, place.forwards)
    pid = get_int(get_object(record, "state"), "pid", _PID_LIMIT)
    is_container = get_str(record, "type") == _CONTAINER
    return Instance(
        id=id_,
        name=name,
        backend=place.backend,
        state=state,
        state_detail=printable(get_str(record, "status").lower(), _MAX_TEXT),
        image=_image(texts),
        ports=tuple(sorted([*published, *_unpublished(published, metadata)])),
        ips=ips,
        metadata=metadata,
        main_pid=pid,
        # The process of a virtual machine runs in the control group of the server.
        control_group=payload_group(project, name, pid) if is_container else "",
        created_at=get_time(record, "created_at") * 1_000_000,
        notes=tuple(_notes(has_more_ips=len(found) > MAX_IPS, has_more_ports=has_more)),
        project=project,
        traits=TRAITS,
    )


def _metadata(config: JSONObject, *, is_trusted: bool) -> KoiMetadata:
    """Return the metadata of an instance. That of an unprivileged user can only opt out."""
    metadata = from_config_keys(config)
    if is_trusted or metadata == KoiMetadata():
        return metadata
    if metadata.enable is False:
        return KoiMetadata(enable=False, enabled_by=metadata.enabled_by, refused=_REFUSED)
    return KoiMetadata(refused=_REFUSED)


def _notes(*, has_more_ips: bool, has_more_ports: bool) -> Iterator[str]:
    if has_more_ips:
        yield MORE_IPS
    if has_more_ports:
        yield MORE_PORTS


def started_guest(id_: str, backend: str) -> Guest:
    """Return an instance whose start is known only from an event."""
    return Guest(instance=_unknown(id_, backend, InstanceState.RUNNING), run="")


def copied_guest(guest: Guest, *, state: InstanceState, state_detail: str) -> Guest:
    """Return an instance in another state."""
    return replace(guest, instance=copied(guest.instance, state=state, state_detail=state_detail))


def is_new_run(before: Guest, now: Guest) -> bool:
    """Return True if an instance was stopped and started again."""
    return bool(before.run and now.run) and before.run != now.run


def _unknown(id_: str, backend: str, state: InstanceState) -> Instance:
    project, _, name = id_.partition("/")
    return Instance(id=id_, name=name, backend=backend, state=state, project=project, traits=TRAITS)


def _image(config: Mapping[str, str]) -> str:
    words = (config.get("image.os", ""), config.get("image.release", ""))
    text = config.get("image.description") or " ".join(filter(None, words))
    return printable(text, _MAX_TEXT)


def _published(
    record: JSONObject, metadata: KoiMetadata, ips: tuple[str, ...], forwards: Forwards
) -> tuple[list[PortMapping], bool]:
    """Return the ports that are published, and True if some of them are left out."""
    forwarded = forwards.ports_to(ips, declared(metadata, set()))
    found = list(islice(chain(proxy_ports(record), forwarded), MAX_PORTS + 1))
    return list(merge_binds(found[:MAX_PORTS])), len(found) > MAX_PORTS


def _unpublished(published: list[PortMapping], metadata: KoiMetadata) -> Iterator[PortMapping]:
    """Yield the ports in metadata that are reached at the instance's own addresses."""
    seen = {(port.container_port, port.protocol) for port in published}
    for port in declared(metadata, seen):
        yield replace(port, host_port=0)
