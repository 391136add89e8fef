"""One connection to one server: its events, its inspections and its lists."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, closing
from typing import Final, Never

from koi_agent.backends.http_engine.inspect_queue import InspectQueue
from koi_agent.backends.http_engine.streams import LineStream, MessageStream
from koi_agent.backends.incus.api import IncusAPI
from koi_agent.backends.incus.events import NETWORK_CHANGED, Event, parse_event
from koi_agent.backends.incus.forwards import Forwards
from koi_agent.backends.incus.guests import Guest, Place, guest_id, parse_guest
from koi_agent.backends.incus.projects import Projects
from koi_agent.backends.incus.tracker import Tracker
from koi_agent.backends.incus.tunables import Tunables
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendLost, BadInput, ungrouped
from koi_agent.core.events import Listing

log = logging.getLogger(__name__)

MAX_COMPLAINTS: Final = 100
"""Maximum number of kinds of bad records that are logged in one connection."""
TURN: Final = 20
"""Records or events that are parsed before other tasks run."""

Stop = Callable[[], Awaitable[str]]
"""Waits until a request would start the server, and returns its service."""


class Session:
    """Follows one server for the backend ``name`` until the connection is lost.

    ``guests`` are the instances that were known before.
    """

    def __init__(
        self,
        name: str,
        api: IncusAPI,
        guests: dict[str, Guest],
        deliver: Deliver,
        *,
        projects: Projects,
        tunables: Tunables,
    ) -> None:
        self._name = name
        self._api = api
        self._projects = projects
        self._tunables = tunables
        self._queue = InspectQueue()
        self._tracker = Tracker(name, guests, deliver, self._queue, tunables)
        self._forwards = Forwards()
        self._stream: LineStream | MessageStream | None = None
        self._doubts: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        self._complaints: set[str] = set()
        self._stop: Stop | None = None

    @asynccontextmanager
    async def opened(self, stop: Stop) -> AsyncIterator["Session"]:
        """Open the event stream, and close it at the end; raise ``BackendLost``."""
        self._stop = stop
        self._stream = await self._api.open_events()
        with closing(self._stream), closing(self._queue), closing(self._tracker):
            yield self

    async def run(self) -> Never:
        """Read events and inspect instances; raise ``BackendLost`` when the server is lost."""
        with ungrouped(BackendLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_events(), name=f"{self._name}: events")
                group.create_task(self._end_with_service(), name=f"{self._name}: service")
                for number in range(self._tunables.inspect_workers):
                    group.create_task(self._inspect_all(), name=f"{self._name}: inspect {number}")
        raise AssertionError("a session ends by losing its server")

    async def _end_with_service(self) -> Never:
        """Raise ``BackendLost`` when the service stops: a later request would start it again."""
        if self._stop is None:
            raise AssertionError("a session is opened before it runs")
        raise BackendLost(f"{await self._stop()} stops")

    async def doubt(self) -> str:
        """Wait until only a list can show what runs; return why."""
        reason = await self._doubts.get()
        await asyncio.sleep(self._tunables.list_delay)
        return reason

    def _doubt(self, reason: str) -> None:
        if self._doubts.empty():
            self._doubts.put_nowait(reason)

    def _complain(self, subject: str, bad: BadInput) -> None:
        """Log what is wrong with a record, once for each kind of error."""
        text = f"{subject}: {bad}"
        if text not in self._complaints and len(self._complaints) < MAX_COMPLAINTS:
            self._complaints.add(text)
            log.warning("%s: ignored %s", self._name, text)

    # Events

    async def _read_events(self) -> Never:
        """Apply events as they come; the kernel and the server hold those that wait."""
        if self._stream:
            async for messages in self._stream.batches():
                for number, message in enumerate(messages, start=1):
                    self._apply(message)
                    if number % TURN == 0:
                        await asyncio.sleep(0)
        raise BackendLost("the event stream ended")

    def _apply(self, message: bytes) -> None:
        try:
            event = parse_event(message)
        except BadInput as bad:
            self._complain("an event", bad)
            self._doubt("an event could not be parsed")
            return
        if event is NETWORK_CHANGED:
            self._doubt("the forwards of a network have changed")
        elif isinstance(event, Event) and self._projects.include(event.project):
            self._tracker.apply_event(event)

    # Inspections

    async def _inspect_all(self) -> Never:
        """Inspect one instance after the other. Several of these run at a time."""
        while True:
            id_ = await self._queue.get()
            try:
                guest = await self._inspect(id_)
            except (BadInput, BackendLost) as error:
                # The failure affects one instance only. If the server is lost, the event stream
                # ends.
                self._report(id_, error)
                if self._queue.finish(id_):
                    self._tracker.inspection_failed(id_)
            else:
                if self._queue.finish(id_):
                    self._tracker.apply_inspection(id_, guest)

    async def _inspect(self, id_: str) -> Guest | None:
        """Return an instance, or None if it is gone; raise ``BadInput`` or ``BackendLost``."""
        project, _, name = id_.partition("/")
        record = await self._api.instance(project, name)
        if record is None:
            return None
        if guest_id(record) != id_:
            raise BadInput("the response is about another instance")
        return parse_guest(record, self._place())

    def _place(self) -> Place:
        return Place(
            backend=self._name,
            member=self._api.server.member,
            forwards=self._forwards,
            projects=self._projects,
        )

    def _report(self, id_: str, error: BadInput | BackendLost) -> None:
        if isinstance(error, BadInput):
            self._complain(f"instance {id_}", error)
        log.debug("instance %s: %s", id_, error)
        self._queue.put_after(self._tunables.inspect_retry, id_)

    # Lists

    async def list(self) -> Listing:
        """List what runs; raise ``BackendLost``."""
        self._tracker.begin_list()
        try:
            before, self._forwards = self._forwards, await self._api.forwards()
            if self._forwards != before:
                self._tracker.inspect_touched()
            listed: dict[str, Guest | None] = {}
            async with aclosing(self._api.list_instances()) as lists:
                async for records in lists:
                    for number, record in enumerate(records, start=1):
                        self._add_listed(record, listed)
                        if number % TURN == 0:
                            await asyncio.sleep(0)
            self._tracker.apply_list(listed)
        finally:
            touched = self._tracker.end_list()
        return Listing(
            backend=self._name,
            instances=self._tracker.instances(),
            endpoint=self._api.socket,
            runtime_version=self._api.server.version,
            touched=frozenset(touched),
        )

    def _add_listed(self, record: object, listed: dict[str, Guest | None]) -> None:
        """Parse one record of a list, and add it if it runs in a project that is followed."""
        try:
            id_ = guest_id(record)
        except BadInput as bad:
            self._complain("a listed instance", bad)
            return
        if not self._projects.include(id_.partition("/")[0]):
            return
        try:
            guest = parse_guest(record, self._place())
        except BadInput as bad:
            self._complain(f"instance {id_}", bad)
            listed[id_] = None
            return
        if guest.is_here:
            listed[id_] = guest
