"""What is tracked: one ``Instance`` for each thing that runs, whatever runs it.

Field names are those of upstream's JSON; ours are added, none renamed. All values are frozen:
a change is a new ``Instance`` made with ``dataclasses.replace``.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self


class InstanceState(StrEnum):
    """What the runtime says of an instance; a word a newer runtime invents becomes ``UNKNOWN``."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    RESTARTING = "restarting"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        return cls("unknown")


class Health(StrEnum):
    """What is known of an instance's health; ``NONE`` means nothing checks it."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        return cls("unknown")


class Protocol(StrEnum):
    """Transport protocols a port can be announced for."""

    TCP = "tcp"
    UDP = "udp"


class PortSource(StrEnum):
    """How a port is known: mapped by a runtime, seen listening, or only said by metadata."""

    PUBLISHED = "published"
    LISTENING = "listening"
    DECLARED = "declared"


class EnabledBy(StrEnum):
    """What opted an instance in (or out): the strongest source that spoke."""

    EXPLICIT = "explicit"
    ANNOUNCE = "announce"
    ENVIRONMENT = "environment"
    PARTNER = "partner"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PortMapping:
    """One way to reach a port.

    ``host_port`` 0 means not published: reach ``container_port`` at the instance's addresses.
    For units both ports are the same. An empty ``host_ip`` means it is not known.
    """

    container_port: int
    protocol: Protocol
    host_port: int
    host_ip: str
    source: PortSource


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMetadata:
    """Metadata of one port, spelled ``koi.8080.type`` or ``koi.53/udp.type``."""

    type: str | None = None
    subtypes: tuple[str, ...] | None = None
    name: str | None = None
    txt: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A value that metadata carried and nobody will use: where it stood, and why not."""

    key: str
    reason: str


class Standing(StrEnum):
    """Where a record stands that an instance asks for."""

    WANTED = "wanted"
    ANNOUNCED = "announced"
    FAILED = "failed"
    REFUSED = "refused"
    HELD = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What became of one record: of which capability, by which provider, and why.

    ``since`` is microseconds since the epoch.
    """

    capability: str
    name: str
    status: Standing
    provider: str = ""
    reason: str = ""
    since: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KoiMetadata:
    """What an instance's owner asks for; ``None`` means the owner did not say.

    ``health_interval`` and ``health_timeout`` are whole seconds. ``ports`` maps
    (container port, protocol) to what is asked for that port alone; both it and ``txt`` are
    sorted tuples, so that equal metadata compare equal and hash.
    """

    enable: bool | None = None
    service_type: str | None = None
    subtypes: tuple[str, ...] | None = None
    name: str | None = None
    dns_name: str | None = None
    txt: tuple[tuple[str, str], ...] = ()
    port: int | None = None
    health_path: str | None = None
    health_kind: str | None = None
    health_scheme: str | None = None
    health_interval: int | None = None
    health_timeout: int | None = None
    proxy_port: int | None = None
    proxy_remote: bool | None = None
    certmesh: bool | None = None
    source: str | None = None
    enabled_by: EnabledBy | None = None
    ports: tuple[tuple[tuple[int, Protocol], PortMetadata], ...] = ()
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One thing that runs.

    ``id`` is the runtime's own. ``discovered_at`` is set once by the registry and
    ``created_at`` is the runtime's own creation time (0 where it has none, as for units);
    both are microseconds since the epoch. ``stale`` is set by the registry while the backend
    is lost. ``awaits`` names a backend that may claim this instance as its own: unless that
    backend is known to be absent or to fail, the instance is held back. ``notes`` are
    sentences for Explain. ``project`` and ``replica`` say which of the many alike it is, as
    Compose numbers them, from 1; empty and 0 where there is no such thing. ``announcements``
    are what capabilities made of what it asks for; ``checked`` tells that health is what a check
    of ours found, where the runtime has none.
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
    control_group: str = ""
    main_pid: int = 0
    invocation_id: bytes = b""
    created_at: int = 0
    discovered_at: int = 0
    stale: bool = False
    awaits: str = ""
    notes: tuple[str, ...] = ()
    project: str = ""
    replica: int = 0
    announcements: tuple[Announcement, ...] = ()
    checked: bool = False

    @property
    def key(self) -> str:
        """Name this instance among those of all backends."""
        return f"{self.backend}:{self.id}"
