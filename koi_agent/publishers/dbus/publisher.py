"""Publishes the registry's events on the bus, and owns the agent's name there.

While the bus is lost, events are dropped: clients read everything again after a new connection.
While the bus is slow, events wait in an ``EventQueue``. Counts are signalled once a second at most.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Never

from koi_agent.bus.client import CallError, Connection, ReconnectingBus
from koi_agent.bus.writer import BusLost
from koi_agent.core import dbus_names, message_ids
from koi_agent.core.dbus_names import NAME, ROOT
from koi_agent.core.event_queue import EventQueue
from koi_agent.core.events import (
    BackendAdded,
    BackendDisconnected,
    BackendEvent,
    BackendReconnected,
    BackendRemoved,
    BackendStatus,
    BackendUpdated,
    Event,
    Started,
    Stopped,
    Updated,
    copied_backend,
)
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.core.schema.backend import BACKEND_PROPERTIES
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.publishers.dbus import signals
from koi_agent.publishers.dbus.errors import NameRefused, NameTaken
from koi_agent.publishers.dbus.interfaces import BACKEND_INTERFACE, INSTANCE_INTERFACE, changed
from koi_agent.publishers.dbus.log_control import LogControl
from koi_agent.publishers.dbus.manager import Manager, ManagerActions
from koi_agent.publishers.dbus.manager_properties import ManagerProperties
from koi_agent.publishers.dbus.names import backend_path, instance_path
from koi_agent.publishers.dbus.tree import Tree

log = logging.getLogger(__name__)

SLICE = 20
"""Events sent before other tasks get a turn: a few milliseconds."""
COUNT_INTERVAL = 1.0
"""Seconds between two signals of counts."""
COUNTS = frozenset({"Instances"})
"""The properties of a backend that are counts."""


class DBusPublisher:
    """An event sink that serves the registry on a bus."""

    def __init__(
        self, registry: Registry, version: str, actions: ManagerActions, log_control: LogControl
    ) -> None:
        self.named = asyncio.Event()
        self._phase = "starting"
        self._registry = registry
        self._version, self._configuration = version, actions.configuration
        self._queue = EventQueue()
        self._work = asyncio.Event()
        self._link: Connection | None = None
        self._backends: dict[str, BackendStatus] = dict(registry.backends)
        manager = Manager(self._queue, self._published_backends, self._of_unit, actions)
        self._manager = manager.interface()
        self._published = self._properties()
        self._count_timer: asyncio.TimerHandle | None = None
        self.tree = Tree(
            self._manager, self._properties, self._instances, self._published_backends, log_control
        )

    @property
    def state(self) -> str:
        """The agent's state, as the Manager's property has it."""
        return self._properties().state

    @property
    def waiting(self) -> int:
        """The number of events that are not sent yet."""
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """The number of short runs that a slow bus kept from being published."""
        return self._queue.dropped

    def _instances(self) -> Mapping[Key, Instance]:
        return self._queue.known

    def _published_backends(self) -> Mapping[str, BackendStatus]:
        return self._backends

    def _of_unit(self, unit: str) -> Sequence[Instance]:
        known = self._queue.known
        return [known[i.key] for i in self._registry.of_unit(unit) if i.key in known]

    def _properties(self) -> ManagerProperties:
        return ManagerProperties(
            version=self._version,
            phase=self._phase,
            backends=tuple(self._backends.values()),
            instances=len(self._queue.known),
            generation=self._registry.generation,
            configuration=self._configuration(),
        )

    def enter(self, phase: str) -> None:
        """Set the agent's phase: starting, reloading, stopping, or "" while it serves."""
        self._phase = phase
        with suppress(BusLost):  # run() handles the loss
            self._send_manager_changes()

    def publish(self, events: Sequence[Event]) -> None:
        """Send events at once if the bus keeps up, else queue them; drop them without a bus."""
        if self._link is None:
            return
        keeps_up = not self._queue and self.named.is_set() and self._link.writable
        dropped = self._queue.dropped
        self._queue.put(events)
        if self._queue.dropped > dropped:
            extra = message_ids.journal_fields(message_ids.MessageId.EVENTS_DROPPED)
            text = "the bus is slow: %d short runs were not published"
            log.warning(text, self._queue.dropped, extra=extra)
        if keeps_up and len(self._queue) <= SLICE:
            with suppress(BusLost), self._link.together():  # run() handles the loss
                self._send_slice(self._link)
                if not all(isinstance(event, Updated) for event in events):
                    self._send_manager_changes()
                return
        self._work.set()

    async def run(self, bus: ReconnectingBus) -> Never:
        """Serve on each connection of a bus; raise ``NameTaken`` or ``NameRefused``."""
        while True:
            link = await bus.connection()
            try:
                await self._serve(link)
            except BusLost as lost:
                log.debug("publishing stopped: %s", lost)
            finally:
                self._link = None
                self.named.clear()
                if self._count_timer:
                    self._count_timer.cancel()
                    self._count_timer = None

    async def _serve(self, link: Connection) -> None:
        self._link = link
        self._queue.reset(self._registry.visible)
        self._backends = dict(self._registry.backends)
        self._published = self._properties()
        self.tree.managed.clear()
        await self._own_name(link)
        self.named.set()
        log.info("serving %s on %s", NAME, link.address)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._wake_when_closed(link), name="publisher: bus")
            # Caught here: before Python 3.13 a group that fails can lose its cancellation.
            with suppress(BusLost):
                while not link.closed:
                    await self._work.wait()
                    self._work.clear()
                    await self._send_all(link)
            watching.cancel()

    async def _wake_when_closed(self, link: Connection) -> None:
        """Wake the loop that sends, which may have nothing to send for a long time."""
        log.debug("publishing stopped: %s", await link.wait_closed())
        self._work.set()

    async def _own_name(self, link: Connection) -> None:
        try:
            owned = await link.request_name(NAME)
        except TimeoutError as error:
            raise BusLost("the bus does not answer") from error
        except CallError as error:
            text = f"{NAME} can't be owned: {error} (is the D-Bus policy installed?)"
            raise NameRefused(text) from error
        if not owned:
            raise NameTaken(f"{NAME} is owned by another process: is an agent running already?")

    async def _send_all(self, link: Connection) -> None:
        while self._queue:
            self._send_slice(link)
            await link.drain()
            if self._queue:
                await asyncio.sleep(0)
        self._send_manager_changes()

    def _send_slice(self, link: Connection) -> None:
        for _ in range(min(SLICE, len(self._queue))):
            self._send(link, self._queue.take())

    def _send(self, link: Connection, event: Event) -> None:
        match event:
            case Started(instance):
                path = instance_path(instance.key)
                self.tree.managed.added(link, path, ((INSTANCE_INTERFACE, instance),))
                signals.instance_started(link, instance, path)
            case Stopped(instance, reason):
                path = instance_path(instance.key)
                signals.instance_stopped(link, instance, path, reason)
                self.tree.managed.removed(link, path, [dbus_names.INSTANCE])
            case Updated(old, new):
                self._send_update(link, old, new)
            case _:
                self._send_backend_event(link, event)

    def _send_update(self, link: Connection, old: Instance, new: Instance) -> None:
        names = changed(INSTANCE_PROPERTIES, old, new)
        path = instance_path(new.key)
        if not names:
            self.tree.managed.forget(path)
            return
        self.tree.managed.changed(link, path, INSTANCE_INTERFACE, new, names)
        signals.instance_updated(link, new, path, names)

    def _send_backend_event(self, link: Connection, event: BackendEvent) -> None:
        match event:
            case BackendUpdated(new=status):
                self._send_backend_update(link, status)
            case BackendDisconnected(backend, reason):
                signals.backend_disconnected(link, backend, reason)
            case BackendAdded(status):
                self._backends[status.name] = status
                path = backend_path(status.name)
                self.tree.managed.added(link, path, ((BACKEND_INTERFACE, status),))
            case BackendRemoved(backend):
                del self._backends[backend]
                self.tree.managed.removed(link, backend_path(backend), [dbus_names.BACKEND])
            case BackendReconnected(backend):
                signals.backend_reconnected(link, backend)

    def _send_backend_update(self, link: Connection, status: BackendStatus) -> None:
        """Send a backend's changes, unless only its counts changed: these wait for the timer."""
        published = self._backends[status.name]
        path = backend_path(status.name)
        if copied_backend(published, instances=status.instances) == status:
            return
        names = changed(BACKEND_PROPERTIES, published, status)
        if set(names) <= COUNTS:
            self._backends[status.name] = copied_backend(published, last_sync=status.last_sync)
            self.tree.managed.forget(path)
            return
        self._backends[status.name] = status
        self.tree.managed.changed(link, path, BACKEND_INTERFACE, status, names)

    def _send_manager_changes(self) -> None:
        """Send the Manager's changed properties; counts wait for the timer."""
        if self._link is None:
            return
        now, before = self._properties(), self._published
        changed = now.phase != before.phase or now.backends != before.backends
        if changed and now.without_counts != before.without_counts:
            self._send_manager_properties(self._link, now)
        if self._counts_differ() and not self._count_timer:
            loop = asyncio.get_running_loop()
            self._count_timer = loop.call_later(COUNT_INTERVAL, self._send_counts)

    def _counts_differ(self) -> bool:
        return self._published.instances != len(self._queue.known) or any(
            status.instances != self._backends[name].instances
            for name, status in self._registry.backends.items()
            if name in self._backends
        )

    def _send_counts(self) -> None:
        self._count_timer = None
        if self._link is None:
            return
        try:
            for name, status in self._registry.backends.items():
                # A backend that is not published yet has its BackendAdded in the queue.
                if published := self._backends.get(name):
                    now = self._backends[name] = copied_backend(
                        published, instances=status.instances
                    )
                    if names := changed(BACKEND_PROPERTIES, published, now):
                        path = backend_path(name)
                        self.tree.managed.changed(self._link, path, BACKEND_INTERFACE, now, names)
            self._send_manager_properties(self._link, self._properties())
        except BusLost as lost:
            log.debug("counts not sent: %s", lost)

    def _send_manager_properties(self, link: Connection, now: ManagerProperties) -> None:
        before, self._published = self._published, now
        properties = self._manager.properties
        names = [name for name, prop in properties.items() if prop.get(now) != prop.get(before)]
        if names:
            self.tree.managed.changed(link, ROOT, self._manager, now, names)
