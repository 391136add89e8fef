"""The agent's signals as happenings, one for each line of ``watch``."""

from asyncio import Queue
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from koi_agent.bus.client import Connection
from koi_agent.bus.signals import Changed, PropertyFilter, Signal, Subscription
from koi_agent.cli import formatting, records
from koi_agent.cli.client import key_at
from koi_agent.core.dbus_names import INSTANCE, INSTANCES, MANAGER, NAME

INSTANCE_EVENTS = {
    "InstanceStarted": "started",
    "InstanceUpdated": "updated",
    "InstanceStopped": "stopped",
}
BACKEND_EVENTS = {"BackendDisconnected": "disconnected", "BackendReconnected": "reconnected"}
AGENT_STARTED, AGENT_STOPPED = "agent-started", "agent-stopped"

VALUES = PropertyFilter(
    INSTANCE,
    {
        "Name": "s",
        "Image": "s",
        "State": "s",
        "StateDetail": "s",
        "Health": "s",
        "HealthDetail": "s",
        "Unit": "s",
        "ControlGroup": "s",
        "MainPID": "u",
        "Stale": "b",
    },
)
"""Properties whose new value fits into a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """``changed`` names what an update changed, ``values`` says what some of it is now."""

    event: str
    moment: datetime = field(default_factory=formatting.now)
    id: str = ""
    name: str = ""
    backend: str = ""
    reason: str = ""
    changed: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class End:
    """The bus is gone, and with it all that could happen."""

    reason: str


class EventQueue:
    """A queue of what happens, filled by ``subscription``."""

    def __init__(self) -> None:
        self._queue: Queue[Event | End] = Queue()
        self._values: dict[str, Mapping[str, Any]] = {}

    async def next(self) -> Event | End:
        return await self._queue.get()

    async def end(self, link: Connection) -> None:
        """Wait for the bus to go, and end with that."""
        self._queue.put_nowait(End(await link.wait_closed()))

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
            deliver=self._take,
        )

    def _take(self, items: Sequence[Signal | Changed]) -> None:
        """Take signals in order; an update's values come right before it."""
        for item in items:
            if isinstance(item, Changed):
                self._values[item.path] = item.values
            else:
                for happening in self._said(item):
                    self._queue.put_nowait(happening)

    def _said(self, signal: Signal) -> Iterable[Event]:
        match signal.member, signal.body:
            case "NameOwnerChanged", [_, old, new]:
                return self._owner_changed(old, new)
            case member, [str(), str(), str(), dict()] as body if member in INSTANCE_EVENTS:
                return [self._of_instance(INSTANCE_EVENTS[member], *body)]
            case member, [str(backend), dict(details)] if member in BACKEND_EVENTS:
                reason = records.text(details, "reason")
                return [Event(event=BACKEND_EVENTS[member], backend=backend, reason=reason)]
            case _:
                return []

    def _owner_changed(self, old: str, new: str) -> Iterable[Event]:
        self._values.clear()
        both = ((old, AGENT_STOPPED), (new, AGENT_STARTED))
        return [Event(event=event) for owner, event in both if owner]

    def _of_instance(
        self, event: str, id_: str, name: str, path: str, details: Mapping[str, Any]
    ) -> Event:
        known = self._values.pop(path, {})
        changed = [str(said) for said in records.items(details, "changed")]
        return Event(
            event=event,
            id=id_,
            name=name,
            backend=key_at(path)[0],
            reason=records.text(details, "reason"),
            changed=[records.key_of(said) for said in changed],
            values={records.key_of(said): known[said] for said in changed if said in known},
        )
