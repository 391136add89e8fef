"""What plugs into the flow: backends bring changes in, event sinks carry events out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Never, Protocol

from koi_agent.core.events import Event, Gone, Listing, Seen
from koi_agent.core.plan.records import Record, Told

Deliver = Callable[[Seen | Gone], None]


class Session(Protocol):
    """One connection to a runtime whose event stream is already open."""

    async def list(self) -> Listing:
        """Ask the runtime for everything that runs; raises ``BackendLost``."""

    async def doubt(self) -> str:
        """Wait until events alone can't tell the truth (a reload, an overrun); returns why."""

    async def run(self) -> Never:
        """Do the session's own work; raises ``BackendLost`` when it is of no more use."""


class Backend(Protocol):
    """A runtime that can be followed."""

    name: str

    def session(self, deliver: Deliver) -> AbstractAsyncContextManager[Session]:
        """Connect and open the event stream; raises ``BackendLost`` or ``BackendAbsent``.

        ``deliver`` may be called from the moment the stream is open, before the context is
        entered, and not after it is left.
        """

    async def arrival(self) -> None:
        """Wait until something tells that another attempt is worth while, for ever if nothing does.

        Called after a session ended; it knows what has changed since that began.
        """


Report = Callable[[str, Sequence[Told]], None]
"""Takes what became of the records of one owner: all of them, each time."""


class ProviderSession(Protocol):
    """One connection to whoever makes records known."""

    async def put(self, key: str, records: Sequence[Record]) -> None:
        """Make known exactly these records of an owner, and no others; none withdraws all.

        Raises ``ProviderRefused`` or ``ProviderLost``. What becomes of each is reported.
        """

    async def run(self) -> Never:
        """Do the session's own work; raises ``ProviderLost`` when it is of no more use."""


class Provider(Protocol):
    """What a capability acts through; ``absence`` says what is missing before there is a session.

    When a session is left, what it made known is withdrawn.
    """

    absence: str

    def session(self, report: Report) -> AbstractAsyncContextManager[ProviderSession]:
        """Connect, and wait for as long as the provider is absent; raises ``ProviderLost``."""


class EventSink(Protocol):
    """Something that shows events; it must not block and never raises."""

    def publish(self, events: Sequence[Event]) -> None:
        """Take note of events, in order."""
