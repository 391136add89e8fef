"""The agent's signals as events, one for each line of ``watch``."""

from asyncio import Queue
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any

from koi_agent.bus.client import Connection
from koi_agent.bus.signals import Changed, PropertyFilter, Signal, Subscription
from koi_agent.cli import records, times
from koi_agent.cli.client import key_at
from koi_agent.core.dbus_names import INSTANCE, INSTANCES, MANAGER, NAME
from koi_agent.core.frozen import frozen
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.core.schema.tables import ChangeSignal

INSTANCE_EVENTS = {
    "InstanceStarted": "started",
    "InstanceUpdated": "updated",
    "InstanceStopped": "stopped",
}
BACKEND_EVENTS = {"BackendDisconnected": "disconnected", "BackendReconnected": "reconnected"}
AGENT_STARTED, AGENT_STOPPED = "agent-started", "agent-stopped"

KEYS = {row.name: row.key for row in INSTANCE_PROPERTIES.rows if row.key and row.name}
"""Keys in JSON by D-Bus name."""
VALUES = PropertyFilter(
    INSTANCE,
    {
        row.name: row.type.signature
        for row in INSTANCE_PROPERTIES.rows
        if row.name and row.type.is_basic and row.signal is ChangeSignal.VALUE
    },
)
"""Properties whose new value is shown: those that a signal carries and that fit in a line."""


@frozen(kw_only=True)
class Event:
    """An event at the bus.

    ``changed`` are the keys of the properties that an update changed. ``values`` are the new
    values of some of them, in their JSON form. ``records`` are the announced records that changed.
    """

    kind: str
    time: datetime = field(default_factory=times.now)
    id: str = ""
    name: str = ""
    backend: str = ""
    reason: str = ""
    changed: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    records: Sequence[Mapping[str, Any]] = ()


@frozen()
class Lost:
    """The bus is lost: no event follows."""

    reason: str


class EventQueue:
    """A queue of events, filled by ``subscription``."""

    def __init__(self) -> None:
        self._queue: Queue[Event | Lost] = Queue()
        self._values: dict[str, Mapping[str, Any]] = {}

    async def next(self) -> Event | Lost:
        return await self._queue.get()

    async def wait_lost(self, link: Connection) -> None:
        """Wait until the bus is lost, and queue that."""
        self._queue.put_nowait(Lost(await link.wait_closed()))

    def subscription(self) -> Subscription:
        ours = f"type='signal',sender='{NAME}'"
        properties = "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'"
        return Subscription(
            sender=NAME,
            rules=(
                f"{ours},interface='{MANAGER}'",
                f"{ours},{properties},path_namespace='{INSTANCES}'",
            ),
            members=frozenset((MANAGER, member) for member in INSTANCE_EVENTS | BACKEND_EVENTS),
            filters=(VALUES,),
            deliver=self._on_signals,
        )

    def _on_signals(self, signals: Sequence[Signal | Changed]) -> None:
        """Queue events in the order of their signals.

        The agent sends PropertiesChanged right before InstanceUpdated: its values are kept until
        then.
        """
        for signal in signals:
            if isinstance(signal, Changed):
                self._values[signal.path] = signal.values
            else:
                for event in self._events(signal):
                    self._queue.put_nowait(event)

    def _events(self, signal: Signal) -> Iterable[Event]:
        match signal.member, signal.body:
            case "NameOwnerChanged", [_, old, new]:
                return self._owner_events(old, new)
            case member, [str(), str(), str(), dict()] as body if member in INSTANCE_EVENTS:
                return [self._instance_event(INSTANCE_EVENTS[member], *body)]
            case member, [str(backend), dict(details)] if member in BACKEND_EVENTS:
                reason = records.text(details, "reason")
                return [Event(kind=BACKEND_EVENTS[member], backend=backend, reason=reason)]
            case _:
                return []

    def _owner_events(self, old: str, new: str) -> Iterable[Event]:
        self._values.clear()
        owners = ((old, AGENT_STOPPED), (new, AGENT_STARTED))
        return [Event(kind=kind) for owner, kind in owners if owner]

    def _instance_event(
        self, kind: str, id_: str, name: str, path: str, details: Mapping[str, Any]
    ) -> Event:
        values = self._values.pop(path, {})
        record = INSTANCE_PROPERTIES.record(values)
        return Event(
            kind=kind,
            id=id_,
            name=name,
            backend=key_at(path)[0],
            reason=records.text(details, "reason"),
            # A property of a newer agent has no key here, and keeps its D-Bus name.
            changed=[KEYS.get(name, name) for name in map(str, records.items(details, "changed"))],
            values={KEYS[name]: record.get(KEYS[name]) for name in values},
        )
