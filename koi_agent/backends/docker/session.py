"""One connection to one engine: its events, its inspections and its lists."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import field
from typing import Final, Never, TypeVar

from koi_agent.backends.docker.api import DockerAPI
from koi_agent.backends.docker.containers import Container, container_from_list
from koi_agent.backends.docker.event_listener import EventListener
from koi_agent.backends.docker.events import SERVICE_CHANGED, Event, EventHistory
from koi_agent.backends.docker.images import Images
from koi_agent.backends.docker.inspector import Inspector
from koi_agent.backends.docker.table import ContainerTable
from koi_agent.backends.docker.tracker import Tracker
from koi_agent.backends.docker.tunables import Tunables
from koi_agent.backends.http_engine.client import SLICE
from koi_agent.backends.http_engine.inspect_queue import InspectQueue
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendLost, BadInput, ungrouped
from koi_agent.core.events import Listing
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, InstanceState
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.owner_ports import HostPorts

log = logging.getLogger(__name__)

_T = TypeVar("_T")

MAX_COMPLAINTS: Final = 100
"""Maximum number of kinds of bad records that are logged in one connection."""


@frozen()
class EngineState:
    """State that outlives a connection: running containers, known events, inspected images.

    Without ``images`` they are not inspected, and their labels count.
    """

    containers: dict[str, Container] = field(default_factory=dict)
    history: EventHistory = field(default_factory=EventHistory)
    images: Images | None = None

    @classmethod
    def empty(cls, *, image_labels: bool) -> "EngineState":
        """Return the state before the first connection."""
        return cls(images=None if image_labels else Images())


class Session:
    """Follows one engine for the backend ``name`` until the connection is lost."""

    def __init__(
        self,
        name: str,
        api: DockerAPI,
        state: EngineState,
        deliver: Deliver,
        *,
        listeners: ListenerTable,
        tunables: Tunables,
    ) -> None:
        self._name = name
        self._api = api
        self._kind = api.engine.kind
        self._tunables = tunables
        self._ports = HostPorts(listeners, self._on_ports_changed)
        image_labels = state.images is None
        self._table = ContainerTable(
            name, state.containers, deliver, self._ports, image_labels=image_labels
        )
        self._queue = InspectQueue()
        self._tracker = Tracker(self._table, self._kind, self._queue, tunables)
        self._inspector = Inspector(
            api,
            self._queue,
            self._tracker,
            self._complain,
            images=state.images,
            tunables=tunables,
        )
        self._listener = EventListener(api, state.history, self, tunables)
        self._has_listed = asyncio.Event()
        self._doubts: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        self._complaints: set[str] = set()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Session"]:
        """Open the event stream, and close it at the end; raise ``BackendLost``."""
        await self._listener.open()
        try:
            yield self
        finally:
            self._listener.close()
            self._queue.close()
            self._inspector.population.close()
            self._tracker.close()

    async def run(self) -> Never:
        """Read events and inspect containers; raise ``BackendLost`` when the engine is lost."""
        with ungrouped(BackendLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listener.read(), name=f"{self._name}: read events")
                group.create_task(self._apply_events(), name=f"{self._name}: apply events")
                group.create_task(self._ports.run(), name=f"{self._name}: listeners")
                for number in range(self._tunables.inspect_workers):
                    group.create_task(self._inspector.run(), name=f"{self._name}: inspect {number}")
        raise AssertionError("a session ends by losing its engine")

    async def doubt(self) -> str:
        """Wait until only a list can show what runs; return why."""
        reason = await self._doubts.get()
        await asyncio.sleep(self._tunables.list_delay)
        return reason

    def _doubt(self, reason: str) -> None:
        if self._doubts.empty():
            self._doubts.put_nowait(reason)

    def _on_ports_changed(self, id_: str) -> None:
        self._table.republish(id_)

    def _complain(self, subject: str, bad: BadInput) -> None:
        """Log what is wrong with a record, once for each kind of error."""
        text = f"{subject}: {bad}"
        if text not in self._complaints and len(self._complaints) < MAX_COMPLAINTS:
            self._complaints.add(text)
            log.warning("%s: ignored %s", self._name, text)

    # Events

    async def _apply_events(self) -> Never:
        # Before the first list there is nothing that an event could change.
        await self._has_listed.wait()
        await self._listener.apply()

    def apply_event(self, event: Event) -> None:
        """Apply a new event."""
        if event.action == SERVICE_CHANGED:
            self._on_service_changed(event.id)
            return
        self._tracker.apply_event(event, asyncio.get_running_loop().time())

    def _on_service_changed(self, service: str) -> None:
        """Request a service of the swarm again, with the containers that are its tasks."""
        self._inspector.services.outdate(service)
        self._queue.outdate_unlisted(self._table.containers.keys())
        for id_, container in self._table.containers.items():
            if container.labels.swarm_service == service:
                self._queue.put(id_, urgent=True)

    def bad_event(self, bad: BadInput) -> None:
        """Log an event that could not be parsed; it may have been of any kind."""
        self._complain("an event", bad)
        self.events_lost("an event could not be parsed")

    def events_lost(self, reason: str) -> None:
        """Request a list, and inspect all containers then: a list does not show a new run."""
        self._inspector.services.clear()
        self._queue.outdate_unlisted(self._table.containers.keys())
        self._inspector.uninspected.update(self._table.containers)
        self._doubt(reason)

    def stream_ended(self, reason: str) -> None:
        """Request a list: the new stream has begun."""
        self._doubt(reason)

    # Lists

    async def list(self) -> Listing:
        """List what runs; raise ``BackendLost``."""
        self._forget_old_events()
        self._table.begin_list()
        try:
            found = await self._listed()
            # Later events deliver what they change. The list counts for all other containers.
            touched = frozenset(self._tracker.event_times)
            self._tracker.forget_unlisted(found.keys())
            for containers in _slices(list(found.values())):
                self._tracker.apply_list(containers)
                await asyncio.sleep(0)
        finally:
            self._table.end_list()
        await self._ports.scan()
        self._queue_inspections(found)
        instances: list[Instance] = []
        for ids in _slices(list(self._table.containers)):
            instances += self._table.instances(ids)
            await asyncio.sleep(0)
        self._has_listed.set()
        return Listing(
            backend=self._name,
            instances=instances,
            endpoint=self._api.socket,
            runtime_version=self._api.engine.version,
            touched=touched,
        )

    async def _listed(self) -> dict[str, Container]:
        """Request a list, and return the containers in it that run."""
        found: dict[str, Container] = {}
        async with aclosing(self._api.list_containers()) as slices:
            async for records in slices:
                for record in records:
                    self._add_listed(record, found)
        return found

    def _forget_old_events(self) -> None:
        """Apply lists again to the containers whose last event a list can't lag behind."""
        times = self._tracker.event_times
        oldest = asyncio.get_running_loop().time() - self._tunables.list_lag
        for id_ in [id_ for id_, at in times.items() if at < oldest]:
            del times[id_]

    def _add_listed(self, value: object, found: dict[str, Container]) -> None:
        """Parse one record of a list into ``found``."""
        try:
            id_ = value.get("Id") if isinstance(value, dict) else None
            before = self._table.containers.get(str(id_))
            container = container_from_list(value, self._kind, before)
        except BadInput as bad:
            self._complain("a listed container", bad)
            return
        if container.state is InstanceState.STOPPED:
            return
        if container.id in self._inspector.dead:
            self._queue.put(container.id, urgent=False)  # it may have been started again
            return
        found[container.id] = container
        if before and before.state is not container.state:
            # No event reported it, so other facts may have changed as well.
            self._inspector.uninspected.add(container.id)

    def _queue_inspections(self, found: Mapping[str, Container]) -> None:
        """Queue what only an inspection can show: after the first list, all containers."""
        uninspected = self._inspector.uninspected
        known = found.keys() | self._table.containers.keys()
        # The list was not applied to containers with a recent event.
        ids = (self._tracker.event_times.keys() & known) | (uninspected & found.keys())
        for id_, container in found.items():
            # Docker's list lacks the health of a paused container.
            is_partial = container.inspected is None or container.state is InstanceState.PAUSED
            if is_partial or not self._has_listed.is_set():
                ids.add(id_)
        uninspected.clear()
        for id_ in ids:
            self._queue.put(id_, urgent=False)


def _slices(items: list[_T]) -> Iterator[list[_T]]:
    """Yield a long list in parts that are quick to work on."""
    for start in range(0, len(items), SLICE):
        yield items[start : start + SLICE]
