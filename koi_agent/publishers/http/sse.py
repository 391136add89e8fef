"""Events for those who listen (server-sent events), from the registry's own order.

The last events are kept once for all. Each stream knows how far it has come: what a listener
gets first is all there is at one moment and then everything after it, so that a list and the
events are one truth. Who comes back within what is kept goes on where it was; who comes back
later, or reads too slowly, gets a new snapshot.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from koi_agent.core.events import (
    BackendDisconnected,
    BackendReconnected,
    Event,
    Started,
    Stopped,
    Updated,
)
from koi_agent.core.registry import Registry
from koi_agent.publishers.http.instances import SLICE, Encoder
from koi_agent.publishers.http.response import Refused, encoded

STREAMS = 16
"""Streams that may be open at once."""
KEPT = 1024
"""Events kept for who comes back or is slow."""
SILENCE = 15.0
"""Seconds after which a stream without events says that it is still there."""
RETRY = b"retry: 1000\n\n"
"""What tells a listener to come back after a second."""
SILENT, FAREWELL = b":\n\n", b": koi-runtime stops serving this stream\n\n"

NAMES: Final[dict[type, str]] = {
    Started: "runtime.started",
    Updated: "runtime.updated",
    Stopped: "runtime.stopped",
    BackendDisconnected: "runtime.disconnected",
    BackendReconnected: "runtime.reconnected",
}
"""The events that are told, by upstream's names."""
SNAPSHOT = "runtime.snapshot"


class EventStreams:
    """All streams, and the events they are made of."""

    def __init__(self, registry: Registry, encoder: Encoder) -> None:
        self.counts = dict.fromkeys(NAMES.values(), 0)
        self.delays = 0
        self.delayed = 0.0
        self.last = 0
        self._registry = registry
        self._encoder = encoder
        self._start = str(time.time_ns() // 1000)
        self._kept: deque[tuple[float, Event]] = deque(maxlen=KEPT)
        self._open: set[EventStream] = set()

    def __len__(self) -> int:
        return len(self._open)

    def publish(self, events: Sequence[Event]) -> None:
        """Take note of events."""
        now = time.monotonic()
        for event in events:
            if name := NAMES.get(type(event)):
                self.counts[name] += 1
                self.last += 1
                self._kept.append((now, event))
            if isinstance(event, Stopped):
                self._encoder.forget(event.instance.key)
        for stream in self._open:
            stream.wake()

    def open(self, last_id: str) -> "EventStream":
        """Open a stream after an event that its listener has; raises ``Refused``."""
        if len(self._open) >= STREAMS:
            text = f"{STREAMS} streams are open, and no more may be: try again later"
            raise Refused(503, "too_many_streams", text, {"Retry-After": "5"})
        stream = EventStream(self, self._place(last_id))
        self._open.add(stream)
        return stream

    def close(self, stream: "EventStream") -> None:
        """Count a stream no more."""
        self._open.discard(stream)

    def end(self) -> None:
        """Bring all streams to their end."""
        for stream in list(self._open):
            stream.end()

    @property
    def first(self) -> int:
        """The number of the oldest event that is kept."""
        return self.last - len(self._kept) + 1

    def _place(self, last_id: str) -> int:
        """Find the number in an event's id; -1 where it is none that can be gone on from."""
        start, _, number = last_id.partition("-")
        if start != self._start or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return -1
        return int(number) if self.first - 1 <= int(number) <= self.last else -1

    def after(self, at: int, opened: float) -> tuple[int, bytes]:
        """Spell some of the events after number ``at``; returns the last's number too.

        How long each waited counts for a stream ``opened`` before it.
        """
        now = time.monotonic()
        begin = at - self.first + 1
        some = list(islice(self._kept, begin, begin + SLICE))
        told = b""
        for number, (since, event) in enumerate(some, at + 1):
            told += self._spelled(number, event)
            if since >= opened:
                self.delays += 1
                self.delayed += now - since
        return at + len(some), told

    def _spelled(self, number: int, event: Event) -> bytes:
        head = self._head(number, NAMES[type(event)])
        return head + self._data(event) + b"}\n\n"

    def _data(self, event: Event) -> bytes:
        match event:
            case Started(instance) | Updated(new=instance):
                return self._encoder.of(instance)
            case Stopped(instance, reason):
                shown: dict[str, Any] = {"id": instance.id, "name": instance.name}
                return encoded(shown | {"backend": instance.backend, "reason": reason})
            case BackendDisconnected(backend, reason):
                return encoded({"backend": backend, "reason": reason})
            case BackendReconnected(backend):
                return encoded({"backend": backend})
            case _:
                raise AssertionError(f"{event} has no name")

    def _head(self, number: int, name: str) -> bytes:
        id_ = f"{self._start}-{number}"
        said = encoded({"event_v": 1, "event_type": name, "id": id_})[:-1].decode()
        return f'id: {id_}\nevent: {name}\ndata: {said},"data":'.encode()

    def snapshot(self) -> Iterator[bytes]:
        """Spell all that is visible now, an instance a line, some lines at a time."""
        return self._lines(self._head(self.last, SNAPSHOT), list(self._registry.visible.values()))

    def _lines(self, head: bytes, instances: Sequence[Any]) -> Iterator[bytes]:
        yield head + b'{"instances":['
        for at in range(0, len(instances), SLICE):
            some = [self._encoder.of(instance) for instance in instances[at : at + SLICE]]
            yield (b"," if at else b"") + b"\ndata: " + b",\ndata: ".join(some)
        yield b"\ndata: ]}}\n\n"


class EventStream:
    """One listener's way through the events; ``at`` is the number of the last it has, or -1."""

    def __init__(self, streams: EventStreams, at: int) -> None:
        self._streams = streams
        self._at = at
        self._parts: Iterator[bytes] = iter((RETRY,))
        self._news = asyncio.Event()
        self._ended = False
        self._farewell = FAREWELL
        self._since = time.monotonic()

    def wake(self) -> None:
        """Take note that there is something new."""
        self._news.set()

    def end(self) -> None:
        """Come to the end once all is told."""
        self._ended = True
        self._news.set()

    def close(self) -> None:
        """Be counted no more, and come to the end."""
        self._streams.close(self)
        self.end()

    async def next(self) -> bytes:
        """Wait for more to tell; empty at the end."""
        while True:
            if part := next(self._parts, b""):
                return part
            if self._at < self._streams.first - 1:
                self._parts = self._streams.snapshot()
                self._at = self._streams.last
            elif self._at < self._streams.last:
                self._at, told = self._streams.after(self._at, self._since)
                return told
            elif self._ended:
                farewell, self._farewell = self._farewell, b""
                return farewell
            elif not await self._something():
                return SILENT

    async def _something(self) -> bool:
        """Wait for news; False after a long silence."""
        self._news.clear()
        try:
            async with asyncio.timeout(SILENCE):
                await self._news.wait()
        except TimeoutError:
            return False
        return True
