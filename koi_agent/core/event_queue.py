"""A queue of events for a slow reader: in order, bounded, the last state never lost.

A queue that grows past its capacity is compacted. Of the updates of one instance the last remains.
An instance that started and stopped before the reader took either event is dropped, and so is the
loss of a backend that has ended; ``dropped`` counts both. The rest is bounded by the number of
instances.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from koi_agent.core.events import (
    BackendAdded,
    BackendDisconnected,
    BackendReconnected,
    BackendRemoved,
    BackendUpdated,
    Event,
    InstanceEvent,
    Started,
    Stopped,
    Updated,
)
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key


class EventQueue:
    """A queue of events for one reader.

    ``known`` is what the reader knows from events so far. ``version`` counts its changes.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self.dropped = 0
        self.known: dict[Key, Instance] = {}
        self.version = 0
        self._events: deque[Event] = deque()
        self._capacity = capacity
        self._limit = capacity

    def __len__(self) -> int:
        return len(self._events)

    def reset(self, known: Mapping[Key, Instance]) -> None:
        """Start again with a reader that knows, or will ask for, the present state."""
        self.known = dict(known)
        self.version += 1
        self._events.clear()
        self._limit = self._capacity

    def put(self, events: Iterable[Event]) -> None:
        """Queue events."""
        self._events.extend(events)
        if len(self._events) > self._limit:
            self._events = self._compacted()
            self._limit = max(self._capacity, 2 * len(self._events))

    def take(self) -> Event:
        """Remove and return the first event; raise ``IndexError`` without one."""
        event = self._events.popleft()
        match event:
            case Started(instance) | Updated(new=instance):
                self.known[instance.key] = instance
                self.version += 1
            case Stopped(instance):
                self.known.pop(instance.key, None)
                self.version += 1
            case _:
                pass
        if not self._events:
            self._limit = self._capacity
        return event

    def _compacted(self) -> deque[Event]:
        kept: dict[int, Event] = {}
        last: dict[Key | str, list[int]] = {}
        lost: dict[str, int] = {}
        for number, event in enumerate(self._events):
            match event:
                case Started() | Updated() | Stopped():
                    self._add(kept, last.setdefault(_key(event), []), number, event)
                case BackendUpdated(new=status):
                    self._add_update(kept, last.setdefault(status.name, []), number, event)
                case BackendReconnected(backend) if backend in lost:
                    del kept[lost.pop(backend)]
                    self.dropped += 1
                case BackendDisconnected(backend):
                    lost[backend] = number
                    kept[number] = event
                case BackendRemoved(backend):
                    last.pop(backend, None)
                    lost.pop(backend, None)
                    kept[number] = event
                case BackendAdded() | BackendReconnected():
                    kept[number] = event
        return deque(kept.values())

    def _add(
        self, kept: dict[int, Event], mine: list[int], number: int, event: InstanceEvent
    ) -> None:
        """Add an event of an instance, and drop what it outdates of the earlier ones (``mine``)."""
        before = kept[mine[-1]] if mine else None
        if isinstance(event, Updated) and isinstance(before, Updated):
            kept[mine[-1]] = Updated(before.old, event.new)
            return
        if isinstance(event, Stopped):
            started = [at for at in mine if isinstance(kept[at], Started)]
            if started:
                for at in [at for at in mine if at >= started[-1]]:
                    mine.remove(at)
                    del kept[at]
                self.dropped += 1
                return
        mine.append(number)
        kept[number] = event

    def _add_update(
        self, kept: dict[int, Event], mine: list[int], number: int, event: BackendUpdated
    ) -> None:
        """Add an update of a backend, merged with the previous one."""
        if mine:
            first = kept.pop(mine.pop())
            if isinstance(first, BackendUpdated):
                event = BackendUpdated(first.old, event.new)
        mine.append(number)
        kept[number] = event


def _key(event: InstanceEvent) -> Key:
    return event.new.key if isinstance(event, Updated) else event.instance.key
