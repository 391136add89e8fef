"""The tracked values: one ``Instance`` for each workload of any runtime.

Field names are those of upstream's JSON; ours are added, and no field is renamed. All values are
frozen: a change is a new ``Instance`` made with ``dataclasses.replace``.
"""

from dataclasses import field
from enum import StrEnum
from typing import Final, Self

from koi_agent.core.copies import Copier
from koi_agent.core.frozen import frozen
from koi_agent.core.key import Key
from koi_agent.core.reach.filters import OPEN, AddressFilter
from koi_agent.core.traits import CONTAINER, Traits

MAX_IPS: Final = 64
"""Addresses of an instance that count. The root of a container may add any number."""
MORE_IPS: Final = f"it has more than {MAX_IPS} addresses; the others are left out"
"""The note of such an instance."""


class InstanceState(StrEnum):
    """State of an instance as its runtime reports it; an unknown word becomes ``UNKNOWN``."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    RESTARTING = "restarting"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        return cls("unknown")


class Health(StrEnum):
    """Health of an instance; ``NONE`` means that no check exists."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        return cls("unknown")


class Protocol(StrEnum):
    """Transport protocol of a port."""

    TCP = "tcp"
    UDP = "udp"


class PortSource(StrEnum):
    """Source of a port: mapped by the runtime, found listening, or declared by metadata only.

    ``EXTERNAL`` is mapped at an address that need not be one of this host, ``CLUSTER`` at one that
    only this host and its cluster reach.
    """

    PUBLISHED = "published"
    LISTENING = "listening"
    DECLARED = "declared"
    EXTERNAL = "external"
    CLUSTER = "cluster"


class EnabledBy(StrEnum):
    """The strongest source that opted an instance in or out."""

    EXPLICIT = "explicit"
    ANNOUNCE = "announce"
    ENVIRONMENT = "environment"
    PARTNER = "partner"


@frozen(kw_only=True, order=True)
class PortMapping:
    """One way to reach a port.

    ``host_port`` 0 means not published: reach ``container_port`` at the instance's addresses.
    For units both ports are the same. An empty ``host_ip`` means it is not known. ``interface`` is
    the one that the socket is bound to (SO_BINDTODEVICE), empty for any. ``is_v6only`` is True if
    ``::`` does not include IPv4 (IPV6_V6ONLY).
    """

    container_port: int
    protocol: Protocol
    host_port: int
    host_ip: str
    source: PortSource
    interface: str = ""
    is_v6only: bool = False


@frozen(kw_only=True)
class PortMetadata:
    """Metadata of one port, spelled ``koi.8080.type`` or ``koi.53/udp.type``."""

    type: str | None = None
    subtypes: tuple[str, ...] | None = None
    name: str | None = None
    txt: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class Refusal:
    """A metadata value that is not used: its key, and the reason.

    ``capability`` is the one that the key belongs to. It is empty for a key that several
    capabilities use, and for an unknown key. ``part`` is the use of the value that is refused,
    such as "host name"; it is empty if the value is not used at all.
    """

    key: str
    reason: str
    capability: str = ""
    part: str = ""


class CheckKind(StrEnum):
    """Kind of a health check: an HTTP request, or a TCP connection only."""

    HTTP = "http"
    TCP = "tcp"


class RecordState(StrEnum):
    """State of a record that an instance requests.

    ``WANTED`` is not confirmed by the provider yet. ``HELD`` waits until its reason is gone.
    ``REFUSED`` waits for a change of the instance. ``FAILED`` is tried again.
    """

    WANTED = "wanted"
    ANNOUNCED = "announced"
    FAILED = "failed"
    REFUSED = "refused"
    HELD = "held"


@frozen(kw_only=True)
class RecordStatus:
    """Status of one record: its name as published, its provider, and the reason of its state.

    ``capability`` and ``since``, the time of the last change in microseconds since the epoch, are
    filled in by the announce engine.
    """

    name: str
    state: RecordState
    provider: str = ""
    reason: str = ""
    since: int = 0
    capability: str = ""

    @property
    def content(self) -> tuple[str, ...]:
        """All of the status except its time."""
        return self.capability, self.provider, self.name, self.state, self.reason


copied_status: Final = Copier(RecordStatus)
"""Returns a copy of a status with some fields changed."""


@frozen(kw_only=True)
class KoiMetadata:
    """The ``koi.*`` metadata of an instance; ``None`` means that the key is not set.

    ``health_interval`` and ``health_timeout`` are whole seconds. ``ports`` maps
    (container port, protocol) to the keys of that port alone. Both ``ports`` and ``txt`` are
    sorted tuples, so that equal metadata compare equal and hash.
    """

    enable: bool | None = None
    mdns_enable: bool | None = None
    dns_enable: bool | None = None
    health_enable: bool | None = None
    proxy_enable: bool | None = None
    service_type: str | None = None
    subtypes: tuple[str, ...] | None = None
    name: str | None = None
    dns_name: str | None = None
    txt: tuple[tuple[str, str], ...] = ()
    port: int | None = None
    health_path: str | None = None
    health_host: str | None = None
    health_kind: str | None = None
    health_scheme: str | None = None
    health_interval: int | None = None
    health_timeout: int | None = None
    proxy_port: int | None = None
    proxy_scheme: str | None = None
    proxy_remote: bool | None = None
    certmesh: bool | None = None
    source: str | None = None
    enabled_by: EnabledBy | None = None
    ports: tuple[tuple[tuple[int, Protocol], PortMetadata], ...] = ()
    refused: tuple[Refusal, ...] = ()


@frozen(kw_only=True)
class Instance:
    """One workload.

    ``id`` is the runtime's own. ``created_at`` is the runtime's creation time (0 where it has
    none, as for units) and ``discovered_at`` is set once by the registry; both are microseconds
    since the epoch. ``stale`` is set by the registry while the backend is lost.

    ``aliases`` are the other names of its unit (Alias= and links), without the one in ``unit``.

    ``awaits`` is the kind of a backend that may claim this instance: the instance is hidden unless
    all such backends are absent or fail. ``notes`` are sentences for Explain;
    those of them that an administrator should repair are also ``problems``. ``project`` and
    ``replica`` identify one of several equal instances, as Compose numbers them, from 1; they are
    empty and 0 for a single instance. ``workload`` is the name that its replicas have
    in common, "" if that is ``name``. A ``one_off`` is a run beside a service, such as that of
    ``compose run``: it ranks after all others. ``ending`` means that the instance is being
    stopped: a connection to it could start it again. ``address_filter`` is its firewall.
    ``socket_ports`` are those of ``ports`` that the service manager opened for the unit.
    ``announcements`` is the status of the records that the instance requests. ``checked`` means
    that ``health`` is the result of a check by the agent. ``key`` is the name of the instance among
    those of all backends.
    """

    id: str
    name: str
    backend: str
    state: InstanceState
    state_detail: str = ""
    image: str = ""
    ports: tuple[PortMapping, ...] = ()
    ips: tuple[str, ...] = ()
    metadata: KoiMetadata = field(default_factory=KoiMetadata)
    health: Health = Health.NONE
    health_detail: str = ""
    unit: str = ""
    aliases: tuple[str, ...] = ()
    control_group: str = ""
    main_pid: int = 0
    invocation_id: bytes = b""
    created_at: int = 0
    discovered_at: int = 0
    stale: bool = False
    awaits: str = ""
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    project: str = ""
    replica: int = 0
    workload: str = ""
    one_off: bool = False
    ending: bool = False
    announcements: tuple[RecordStatus, ...] = ()
    checked: bool = False
    address_filter: AddressFilter = OPEN
    socket_ports: tuple[PortMapping, ...] = ()
    traits: Traits = field(default=CONTAINER, repr=False)
    # Made once: each change of an instance needs it many times.
    key: Key = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", Key(self.backend, self.id))

    @property
    def service_name(self) -> str:
        """The name that its replicas have in common."""
        return self.workload or self.name

    @property
    def is_unhealthy(self) -> bool:
        """True if a check found that the instance does not work."""
        return self.health is Health.UNHEALTHY

    @property
    def accepts_checks(self) -> bool:
        """True if the result of a check by the agent replaces the runtime's health."""
        return self.health is Health.NONE or not self.traits.has_final_health


copied: Final = Copier(Instance)
"""Returns a copy of an instance with some fields changed."""
