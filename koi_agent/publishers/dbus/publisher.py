"""Tells the bus what the registry says, and owns our name there.

While the bus is away nothing is kept for it: its clients will ask for everything anew. While
it is slow events wait in an ``EventQueue``. Counts are told once a second at most.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Never

from koi_agent.bus.client import CallError, Connection, ReconnectingBus
from koi_agent.bus.messages import Header, MessageType, Variant, marshal
from koi_agent.bus.writer import BusLost
from koi_agent.core import message_ids
from koi_agent.core.dbus_names import BACKEND, INSTANCE, MANAGER, NAME, ROOT
from koi_agent.core.errors import KoiError
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
)
from koi_agent.core.instance import Instance
from koi_agent.core.registry import Registry
from koi_agent.publishers.dbus.interfaces import BACKEND_INTERFACE, INSTANCE_INTERFACE, changed
from koi_agent.publishers.dbus.log_control import LogControl
from koi_agent.publishers.dbus.manager import AgentStatus, Manager, ManagerActions
from koi_agent.publishers.dbus.names import backend_path, instance_path
from koi_agent.publishers.dbus.tree import Tree

log = logging.getLogger(__name__)

SLICE = 20
"""Events sent before others get a turn: a few milliseconds."""
COUNT_PAUSE = 1.0
"""Seconds between two tellings of counts."""
COUNTS = frozenset({"Instances"})
"""Properties of a backend that are told with the counts."""


class NameTaken(KoiError):
    """Another agent has our name on the bus."""


class NameRefused(KoiError):
    """The bus's policy does not let us have our name."""


class DBusPublisher:
    """An event sink; ``run`` serves it on ``bus`` for ever."""

    def __init__(
        self, registry: Registry, version: str, wishes: ManagerActions, log_control: LogControl
    ) -> None:
        self.named = asyncio.Event()
        self._phase = "starting"
        self._registry = registry
        self._version = version
        self._queue = EventQueue()
        self._work = asyncio.Event()
        self._link: Connection | None = None
        self._backends: dict[str, BackendStatus] = dict(registry.backends)
        manager = Manager(self._told, self._told_backends, self._of_unit, wishes)
        self._manager = manager.interface()
        self._facts = self._present()
        self._counting: asyncio.TimerHandle | None = None
        self.tree = Tree(self._manager, self._present, self._told, self._told_backends, log_control)

    @property
    def state(self) -> str:
        """The agent's state, in the word that clients read."""
        return self._present().state

    @property
    def waiting(self) -> int:
        """Count the events that were not told yet."""
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """Count what started and stopped without a word having left."""
        return self._queue.dropped

    def _told(self) -> Mapping[str, Instance]:
        return self._queue.told

    def _told_backends(self) -> Mapping[str, BackendStatus]:
        return self._backends

    def _of_unit(self, unit: str) -> Sequence[Instance]:
        told = self._queue.told
        return [told[i.key] for i in self._registry.of_unit(unit) if i.key in told]

    def _present(self) -> AgentStatus:
        return AgentStatus(
            version=self._version,
            phase=self._phase,
            backends=tuple(self._backends.values()),
            instances=len(self._queue.told),
            generation=self._registry.generation,
        )

    def enter(self, phase: str) -> None:
        """Take note of the agent's phase: starting, reloading, stopping, or "" while it serves."""
        self._phase = phase
        self.changed()

    def publish(self, events: Sequence[Event]) -> None:
        """Tell the bus of events, if there is one: at once where it keeps up, else in time."""
        if self._link is None:
            return
        keeps_up = not self._queue and self.named.is_set() and self._link.writable
        dropped = self._queue.dropped
        self._queue.put(events)
        if self._queue.dropped > dropped:
            extra = message_ids.journal_fields(message_ids.MessageId.EVENTS_DROPPED)
            text = "the bus is slow: %d short runs not told of"
            log.warning(text, self._queue.dropped, extra=extra)
        if keeps_up and len(self._queue) <= SLICE:
            with suppress(BusLost):  # the task finds out by itself
                self._tell_some(self._link)
                self.changed()
                return
        self._work.set()

    async def run(self, bus: ReconnectingBus) -> Never:
        """Serve for ever; raises ``NameTaken`` or ``NameRefused``."""
        while True:
            link = await bus.connection()
            try:
                await self._serve(link)
            except BusLost as lost:
                log.debug("publishing stopped: %s", lost)
            finally:
                self._link = None
                self.named.clear()
                if self._counting:
                    self._counting.cancel()
                    self._counting = None

    async def _serve(self, link: Connection) -> None:
        self._link = link
        self._queue.begin(self._registry.visible)
        self._backends = dict(self._registry.backends)
        self._facts = self._present()
        self.tree.managed.clear()
        await self._own_name(link)
        self.named.set()
        log.info("serving %s on %s", NAME, link.address)
        while not link.closed:
            await self._work.wait()
            self._work.clear()
            await self._drain(link)

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

    async def _drain(self, link: Connection) -> None:
        while self._queue:
            self._tell_some(link)
            await link.drain()
            if self._queue:
                await asyncio.sleep(0)
        self.changed()

    def _tell_some(self, link: Connection) -> None:
        for _ in range(min(SLICE, len(self._queue))):
            self._tell(link, self._queue.take())

    def _tell(self, link: Connection, event: Event) -> None:
        match event:
            case Started(instance):
                self.tree.managed.added(link, instance_path(instance.key))
                self._signal(link, "InstanceStarted", instance, {})
            case Stopped(instance, reason):
                self._signal(link, "InstanceStopped", instance, {"reason": Variant("s", reason)})
                self.tree.managed.removed(link, instance_path(instance.key), [INSTANCE])
            case Updated(old, new):
                self._tell_update(link, old, new)
            case _:
                self._tell_of_backend(link, event)

    def _tell_of_backend(self, link: Connection, event: BackendEvent) -> None:
        match event:
            case BackendUpdated(new=status):
                self._tell_backend(link, status)
            case BackendDisconnected(backend, reason):
                details = {"reason": Variant("s", reason)}
                self._emit(link, "BackendDisconnected", "sa{sv}", (backend, details))
            case BackendAdded(status):
                self._backends[status.name] = status
                self.tree.managed.added(link, backend_path(status.name))
            case BackendRemoved(backend):
                del self._backends[backend]
                self.tree.managed.removed(link, backend_path(backend), [BACKEND])
            case BackendReconnected(backend):
                self._emit(link, "BackendReconnected", "sa{sv}", (backend, {}))

    def _tell_update(self, link: Connection, old: Instance, new: Instance) -> None:
        names = changed(INSTANCE_INTERFACE, old, new)
        path = instance_path(new.key)
        if not names:
            self.tree.managed.forget(path)
            return
        self.tree.managed.changed(link, path, INSTANCE_INTERFACE, new, names)
        self._signal(link, "InstanceUpdated", new, {"changed": Variant("as", names)})

    def _tell_backend(self, link: Connection, status: BackendStatus) -> None:
        """Tell a backend's change at once, unless only its counts changed."""
        told = self._backends[status.name]
        path = backend_path(status.name)
        if replace(told, instances=status.instances) == status:
            return
        names = changed(BACKEND_INTERFACE, told, status)
        if set(names) <= COUNTS:
            self._backends[status.name] = replace(told, last_sync=status.last_sync)
            self.tree.managed.forget(path)
            return
        self._backends[status.name] = status
        self.tree.managed.changed(link, path, BACKEND_INTERFACE, status, names)

    def changed(self) -> None:
        """Tell what the agent as a whole is, at once where that is more than a count."""
        if self._link is None:
            return
        now = self._present()
        moved = now.phase != self._facts.phase or now.backends != self._facts.backends
        if moved and now.words != self._facts.words:
            self._tell_facts(self._link, now)
        if self._counts_differ() and not self._counting:
            loop = asyncio.get_running_loop()
            self._counting = loop.call_later(COUNT_PAUSE, self._tell_counts)

    def _counts_differ(self) -> bool:
        return self._facts.instances != len(self._queue.told) or any(
            status.instances != self._backends[name].instances
            for name, status in self._registry.backends.items()
            if name in self._backends
        )

    def _tell_counts(self) -> None:
        self._counting = None
        if self._link is None:
            return
        try:
            for name, status in self._registry.backends.items():
                if not (told := self._backends.get(name)):
                    continue  # what there is to tell of it is on its way
                now = self._backends[name] = replace(told, instances=status.instances)
                names = changed(BACKEND_INTERFACE, told, now)
                path = backend_path(name)
                if names:
                    self.tree.managed.changed(self._link, path, BACKEND_INTERFACE, now, names)
            self._tell_facts(self._link, self._present())
        except BusLost as lost:
            log.debug("counts not told: %s", lost)

    def _tell_facts(self, link: Connection, now: AgentStatus) -> None:
        shown = self._manager.properties
        names = [name for name, prop in shown.items() if prop.get(now) != prop.get(self._facts)]
        self._facts = now
        if names:
            self.tree.managed.changed(link, ROOT, self._manager, now, names)

    def _signal(
        self, link: Connection, member: str, instance: Instance, details: dict[str, Any]
    ) -> None:
        body = (instance.id, instance.name, instance_path(instance.key), details)
        self._emit(link, member, "ssoa{sv}", body)

    def _emit(self, link: Connection, member: str, signature: str, body: Sequence[Any]) -> None:
        header = Header(
            kind=MessageType.SIGNAL,
            path=ROOT,
            interface=MANAGER,
            member=member,
            signature=signature,
        )
        link.send(header, marshal(signature, body))
