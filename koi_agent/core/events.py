"""The two vocabularies of the flow: what is said to the registry, and what the registry says.

Backends say ``Listing``, ``Seen`` and ``Gone``; the engine that follows them adds
``Lost`` and ``Absent``, and the agent ``Followed`` and ``Unfollowed`` when it is configured anew.
Capabilities say what they did (``Announced``) and found (``Checked``).
The registry answers each with a list of ``Event``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from koi_agent.core.instance import Announcement, Health, Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All instances of a backend at one moment.

    ``touched`` are the ids an event spoke of between request and answer: on those the events
    are newer, and the listing is not believed. ``drifted`` are ids that a periodic look found
    different twice, though no event said so.
    """

    backend: str
    instances: Sequence[Instance]
    endpoint: str = ""
    runtime_version: str = ""
    touched: frozenset[str] = frozenset()
    drifted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance as it is now, new or changed."""

    instance: Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """An instance runs no more."""

    backend: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A backend that was, or should be, there does not answer."""

    backend: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A backend is not on this host now."""

    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class Followed:
    """A backend is followed from now on."""

    backend: str


@dataclass(frozen=True, slots=True)
class Unfollowed:
    """A backend is followed no more; what is known of it is forgotten."""

    backend: str


@dataclass(frozen=True, slots=True)
class Announced:
    """What became of all that an instance asked for."""

    key: str
    announcements: tuple[Announcement, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of ours found of an instance; ``Health.NONE`` ends what was found before."""

    key: str
    health: Health
    detail: str = ""


Result = Announced | Checked
Change = Listing | Seen | Gone | Lost | Absent | Followed | Unfollowed | Result


class BackendState(StrEnum):
    """Where a backend stands; ``STALE`` keeps its instances, ``FAILED`` never had any."""

    ABSENT = "absent"
    CONNECTING = "connecting"
    SYNCED = "synced"
    STALE = "stale"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """What is known of a backend; ``last_sync`` is microseconds since the epoch, 0 for never."""

    name: str
    state: BackendState = BackendState.CONNECTING
    endpoint: str = ""
    runtime_version: str = ""
    instances: int = 0
    last_error: str = ""
    reconnects: int = 0
    drift: int = 0
    last_sync: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """An instance became visible."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class Updated:
    """A visible instance changed."""

    old: Instance
    new: Instance


@dataclass(frozen=True, slots=True)
class Stopped:
    """An instance is visible no more; ``instance`` is its last state."""

    instance: Instance
    reason: str


@dataclass(frozen=True, slots=True)
class BackendAdded:
    """A backend is followed from now on."""

    status: BackendStatus


@dataclass(frozen=True, slots=True)
class BackendRemoved:
    """A backend is followed no more; its instances have stopped before."""

    backend: str


@dataclass(frozen=True, slots=True)
class BackendUpdated:
    """What is known of a backend changed."""

    old: BackendStatus
    new: BackendStatus


@dataclass(frozen=True, slots=True)
class BackendDisconnected:
    """A synced backend was lost; its instances are kept, marked stale."""

    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class BackendReconnected:
    """A lost backend has listed again."""

    backend: str


InstanceEvent = Started | Updated | Stopped
BackendEvent = (
    BackendAdded | BackendRemoved | BackendUpdated | BackendDisconnected | BackendReconnected
)
Event = InstanceEvent | BackendEvent
