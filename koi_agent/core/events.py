"""The values of the flow: changes that go into the registry, and events that come out of it.

Backends deliver ``Listing``, ``Seen`` and ``Gone``. The follower adds ``Outdated``, ``Lost`` and
``Absent``; the agent adds ``Followed`` and ``Unfollowed`` when its configuration changes.
Capabilities deliver ``Announced`` and ``Checked``. The registry turns each change into a list of
``Event``.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from koi_agent.core.copies import Copier
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import CheckKind, Health, Instance, RecordStatus
from koi_agent.core.key import Key


@frozen(kw_only=True)
class Listing:
    """All instances of a backend at one moment.

    ``touched`` are the ids that an event named, or that were delivered, since the request: that is
    newer, so the listing does not count for them. ``drifted`` are ids that two periodic lists found
    different although no event named them.
    """

    backend: str
    instances: Sequence[Instance]
    endpoint: str = ""
    runtime_version: str = ""
    touched: frozenset[str] = frozenset()
    drifted: frozenset[str] = frozenset()


@frozen()
class Seen:
    """An instance as it is now, new or changed."""

    instance: Instance


class GoneReason(StrEnum):
    """Reasons for which an instance does not come back as the same instance."""

    CLAIMED = "claimed"
    REMOVED = "removed"
    UNFOLLOWED = "no longer followed"


@frozen(kw_only=True)
class Gone:
    """An instance has stopped."""

    backend: str
    id: str
    reason: str


@frozen()
class Outdated:
    """An instance may have changed unnoticed: its backend is about to be reported as lost."""

    backend: str
    id: str


@frozen(kw_only=True)
class Lost:
    """A backend is lost, or fails although it is present."""

    backend: str
    reason: str


@frozen(kw_only=True)
class Absent:
    """A backend is not present on this host."""

    backend: str
    reason: str


@frozen()
class Followed:
    """The agent starts to follow a backend of a kind."""

    backend: str
    kind: str


@frozen()
class Unfollowed:
    """The agent stops following a backend; its instances are dropped."""

    backend: str


@frozen(kw_only=True)
class CheckStatus:
    """Status of the health check of an instance.

    ``target`` is a URL, or an address and a port. ``interval`` and ``timeout`` are seconds. Times
    are microseconds since the epoch, 0 for never. ``message`` describes the last result.
    """

    kind: CheckKind
    target: str
    interval: float
    timeout: float
    health: Health
    last_checked: int = 0
    last_ok: int = 0
    message: str = ""


@frozen()
class Announced:
    """Status of all records that an instance requests."""

    key: Key
    announcements: tuple[RecordStatus, ...]


@frozen()
class Checked:
    """Status of an instance's health check; ``None`` ends the check.

    ``passed`` is the result of a check that has just run, ``None`` if none ran.
    """

    key: Key
    status: CheckStatus | None
    passed: bool | None = None


Result = Announced | Checked
Change = Listing | Seen | Gone | Outdated | Lost | Absent | Followed | Unfollowed | Result


class BackendState(StrEnum):
    """State of a backend; ``STALE`` keeps its instances, ``FAILED`` has none."""

    ABSENT = "absent"
    CONNECTING = "connecting"
    SYNCED = "synced"
    STALE = "stale"
    FAILED = "failed"


@frozen(kw_only=True)
class BackendStatus:
    """Status of a backend.

    ``kind`` is the runtime's: a host may follow two backends of one kind under two names.
    ``last_sync`` is microseconds since the epoch, 0 for never.
    """

    name: str
    kind: str
    state: BackendState = BackendState.CONNECTING
    endpoint: str = ""
    runtime_version: str = ""
    instances: int = 0
    last_error: str = ""
    reconnects: int = 0
    drift: int = 0
    last_sync: int = 0


copied_backend: Final = Copier(BackendStatus)
"""Copies a status; the count of instances changes with each start and stop."""


@frozen()
class Started:
    """An instance became visible."""

    instance: Instance


@frozen()
class Updated:
    """A visible instance changed."""

    old: Instance
    new: Instance


@frozen()
class Stopped:
    """An instance is no longer visible; ``instance`` is its last state."""

    instance: Instance
    reason: str


@frozen()
class BackendAdded:
    """The agent follows an additional backend."""

    status: BackendStatus


@frozen()
class BackendRemoved:
    """The agent no longer follows a backend; its instances have stopped before this event."""

    backend: str


@frozen()
class BackendUpdated:
    """The status of a backend changed."""

    old: BackendStatus
    new: BackendStatus


@frozen()
class BackendDisconnected:
    """A synced backend was lost; its instances are kept, marked stale."""

    backend: str
    reason: str


@frozen()
class BackendReconnected:
    """A lost backend has listed again."""

    backend: str


InstanceEvent = Started | Updated | Stopped
BackendEvent = (
    BackendAdded | BackendRemoved | BackendUpdated | BackendDisconnected | BackendReconnected
)
Event = InstanceEvent | BackendEvent
