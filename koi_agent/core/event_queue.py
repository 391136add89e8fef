"""Events on their way to somebody slow: in order, bounded, the last word never lost.

``told`` is what the other side knows once it has read all that was taken out. A queue that
grows past its capacity is made shorter: of one instance's updates the last remains, and what
started and stopped without a word having left is told of no more (``dropped`` counts it), as
is a backend's loss that has ended. What remains is bounded by the number of instances.
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


class EventQueue:
    """A queue of events for one reader."""

    def __init__(self, capacity: int = 4096) -> None:
        self.dropped = 0
        self.told: dict[str, Instance] = {}
        self._events: deque[Event] = deque()
        self._capacity = capacity
        self._limit = capacity

    def __len__(self) -> int:
        return len(self._events)

    def begin(self, told: Mapping[str, Instance]) -> None:
        """Begin anew with a reader that knows, or will ask for, all there is now."""
        self.told = dict(told)
        self._events.clear()
        self._limit = self._capacity

    def put(self, events: Iterable[Event]) -> None:
        """Queue events."""
        self._events.extend(events)
        if len(self._events) > self._limit:
            self._events = self._shortened()
            self._limit = max(self._capacity, 2 * len(self._events))

    def take(self) -> Event:
        """Take the first event out; raises ``IndexError`` where there is none."""
        event = self._events.popleft()
        match event:
            case Started(instance) | Updated(new=instance):
                self.told[instance.key] = instance
            case Stopped(instance):
                self.told.pop(instance.key, None)
            case _:
                pass
        if not self._events:
            self._limit = self._capacity
        return event

    def _shortened(self) -> deque[Event]:
        kept: dict[int, Event] = {}
        last: dict[str, list[int]] = {}
        lost: dict[str, int] = {}
        for number, event in enumerate(self._events):
            match event:
                case Started() | Updated() | Stopped():
                    self._shorten(kept, last.setdefault(_key(event), []), number, event)
                case BackendUpdated(new=status):
                    self._replace(kept, last.setdefault(status.name, []), number, event)
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

    def _shorten(
        self, kept: dict[int, Event], mine: list[int], number: int, event: InstanceEvent
    ) -> None:
        """Keep an instance's event, and of its earlier ones (``mine``) what still matters."""
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

    def _replace(
        self, kept: dict[int, Event], mine: list[int], number: int, event: BackendUpdated
    ) -> None:
        """Keep the last of a backend's updates, spanning all of them."""
        if mine:
            first = kept.pop(mine.pop())
            if isinstance(first, BackendUpdated):
                event = BackendUpdated(first.old, event.new)
        mine.append(number)
        kept[number] = event


def _key(event: InstanceEvent) -> str:
    return event.new.key if isinstance(event, Updated) else event.instance.key
