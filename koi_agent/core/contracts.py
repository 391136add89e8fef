"""The parts that plug into the flow: backends, event sinks, capabilities, providers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any, Never, Protocol, TypeVar, runtime_checkable

from koi_agent.core.events import Change, Event, Gone, Listing, Seen
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.plan.records import Record
from koi_agent.core.plan.requests import Policy, Rules

Deliver = Callable[[Seen | Gone], None]
Apply = Callable[[Change], None]
"""Applies a change to the registry."""


class Session(Protocol):
    """One connection to a runtime. Its event stream is open already."""

    async def list(self) -> Listing:
        """Return everything that runs; raise ``BackendLost``."""

    async def doubt(self) -> str:
        """Wait until events alone are not enough (a reload, an overrun); return the reason."""

    async def run(self) -> Never:
        """Do the work of the session; raise ``BackendLost`` when the connection is lost."""


class Backend(Protocol):
    """A runtime that can be followed; ``name`` is that of its instances' keys."""

    name: str

    def session(self, deliver: Deliver) -> AbstractAsyncContextManager[Session]:
        """Connect and open the event stream; raise ``BackendLost`` or ``BackendAbsent``.

        ``deliver`` may be called from the moment the stream is open, before the context is
        entered, and not after it is left.
        """

    async def arrival(self) -> None:
        """Wait until another attempt to connect makes sense, forever if nothing shows that.

        Called after a session has ended. Changes since the start of that session count.
        """


Report = Callable[[Key, Sequence[RecordStatus]], None]
"""Receives the status of all records of one owner."""

R_contra = TypeVar("R_contra", bound=Record, contravariant=True)


class ProviderSession(Protocol[R_contra]):
    """One connection to a provider."""

    async def put(self, owner: Key, records: Sequence[R_contra]) -> None:
        """Set the records of an owner; an empty sequence withdraws all.

        Raises ``ProviderRefused`` or ``ProviderLost``. A provider that publishes records reports
        the status of each. The prober reports none: it applies results to the registry.
        """

    async def run(self) -> Never:
        """Do the work of the session; raise ``ProviderLost`` when the connection is lost."""


@runtime_checkable
class Interruptible(Protocol):
    """A provider session that works for an owner between two calls of ``put``.

    This includes a provider that keeps anything of an owner from one session to the next: it is
    called when records are withdrawn without a session.
    """

    def interrupt(self, owner: Key) -> None:
        """End the work for an owner at once: no result of it is applied after this call."""


@cache
def is_interruptible(kind: type) -> bool:
    """Return True if objects of this type are ``Interruptible``.

    Each stop asks, and before Python 3.12 isinstance() takes 50 µs for a protocol.
    """
    return issubclass(kind, Interruptible)


@runtime_checkable
class Completable(Protocol):
    """A provider session for which the absence of a record matters.

    Until it is complete, it keeps what an earlier run left, and no record counts as absent.
    """

    def complete(self) -> None:
        """Mark the records as complete: all that were wanted at the start have been put."""


class Provider(Protocol[R_contra]):
    """The program through which a capability acts. Equal providers are not restarted.

    ``absence`` describes what is missing until a session is open. When a session is left, its
    records are withdrawn, unless the provider is ``Lasting``.
    """

    @property
    def absence(self) -> str: ...

    def session(self, report: Report) -> AbstractAsyncContextManager[ProviderSession[R_contra]]:
        """Connect, and wait while the provider is absent; raise ``ProviderLost``."""


@runtime_checkable
class AlwaysOpen(Protocol):
    """A provider that others use even without any record, such as a DNS server.

    Its session is open from the start if ``is_always_open`` is True. All other providers are
    connected when the first record is wanted.
    """

    @property
    def is_always_open(self) -> bool: ...


@runtime_checkable
class Lasting(Protocol):
    """A provider whose records outlive its sessions, because others read them in between.

    The next session replaces them, also that of another provider at the same ``place``.
    """

    @property
    def place(self) -> object: ...

    async def withdraw(self) -> None:
        """Withdraw all records: no session follows at this place."""


async def _nothing(_config: Any) -> None:
    """Do nothing."""


@frozen(kw_only=True)
class Capability:
    """A row of the table of capabilities. A lane of its own plans and feeds its providers.

    ``rules`` builds the pure rules from the policy and the configuration. ``providers`` builds the
    providers by name; results go to the registry through its second argument. A capability that is
    turned off has no providers, or rules that request nothing. ``recover`` runs once with the
    configuration, before the providers: it removes what a killed agent left behind.

    ``publishes`` is True for records that other programs see. They outlive a restart of their
    instance by ``RestartGrace=``, and their status is part of the instance's announcements.
    """

    name: str
    rules: Callable[[Policy, Any], Rules]
    providers: Callable[[Any, Apply], Mapping[str, Provider[Any]]]
    recover: Callable[[Any], Awaitable[None]] = _nothing
    publishes: bool = True


class EventSink(Protocol):
    """Receives events. It must not block and never raises."""

    def publish(self, events: Sequence[Event]) -> None:
        """Process events, which come in order."""
