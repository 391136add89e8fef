"""Event streams (server-sent events) in the order of the registry's events.

The last events are kept once for all streams, and each stream has the number of the last event
that it sent. A new stream begins with a snapshot of all instances at one moment, and continues with
the events after that moment. A client that reconnects continues after its last event, as long as
the events since are kept. A client that reconnects later, or that reads too slowly, gets a new
snapshot.
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
from koi_agent.core.instance import Instance
from koi_agent.core.registry import Registry
from koi_agent.core.shares import Shares
from koi_agent.publishers.http.clients import Client, privileged
from koi_agent.publishers.http.instances import SLICE, Encoder
from koi_agent.publishers.http.limits import Limits
from koi_agent.publishers.http.response import RequestError, encode_json
from koi_agent.timeouts import set_within

RETRY = b"retry: 1000\n\n"
"""Makes a client reconnect after a second."""
HEARTBEAT, END = b":\n\n", b": koi-runtime stops serving this stream\n\n"

NAMES: Final[dict[type, str]] = {
    Started: "runtime.started",
    Updated: "runtime.updated",
    Stopped: "runtime.stopped",
    BackendDisconnected: "runtime.disconnected",
    BackendReconnected: "runtime.reconnected",
}
"""Upstream Koi's names of the events that are sent."""
SNAPSHOT = "runtime.snapshot"


class EventStreams:
    """All open streams, and the events that they send.

    ``counts`` counts events by name. ``delays`` and ``delayed`` are the number of events that were
    written to open streams, and the seconds that these waited. ``last`` is the number of the last
    event.
    """

    def __init__(self, registry: Registry, encoder: Encoder, limits: Limits) -> None:
        self.counts = dict.fromkeys(NAMES.values(), 0)
        self.delays = 0
        self.delayed = 0.0
        self.last = 0
        self._registry = registry
        self._encoder = encoder
        self._limits = limits
        self._start = str(time.time_ns() // 1000)
        self._kept: deque[tuple[float, Event]] = deque(maxlen=limits.kept_events)
        self._open: dict[EventStream, None] = {}
        self._shares = Shares(
            limits.all_streams, limits.streams, kept=limits.kept_streams, privileged=privileged()
        )

    def __len__(self) -> int:
        return len(self._open)

    def publish(self, events: Sequence[Event]) -> None:
        """Keep events, and wake the streams."""
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

    def open(self, last_id: str, client: Client) -> "EventStream":
        """Open a stream after the client's last event; raise ``RequestError``.

        If all places are held, the client with the most streams loses its oldest one.
        """
        held = self._shares.held(client)
        loser = None if self._shares.has_room(client) else self._shares.first_to_yield(client)
        if not self._shares.has_share_left(client) or (
            loser is None and not self._shares.fits(client)
        ):
            text = f"this client has {held} streams, which is the limit: try again later"
            raise RequestError(503, "too_many_streams", text, {"Retry-After": "5"})
        if loser is not None:
            next(stream for stream in self._open if stream.client == loser).close()
        stream = EventStream(self, client, self._number(last_id), self._limits.heartbeat)
        self._open[stream] = None
        self._shares.add(client)
        return stream

    def close(self, stream: "EventStream") -> None:
        """Remove a stream."""
        if stream in self._open:
            del self._open[stream]
            self._shares.remove(stream.client)

    def end(self) -> None:
        """End all streams once they have sent all events."""
        for stream in list(self._open):
            stream.end()

    @property
    def first(self) -> int:
        """The number of the oldest event that is kept."""
        return self.last - len(self._kept) + 1

    def _number(self, id_: str) -> int:
        """Return the number in an event's id, or -1 if a stream cannot continue after it."""
        start, _, number = id_.partition("-")
        if start != self._start or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return -1
        return int(number) if self.first - 1 <= int(number) <= self.last else -1

    def after(self, number: int, opened: float) -> tuple[int, bytes]:
        """Encode the next events after a number; return the number of the last one too.

        The delay of an event counts if the stream was ``opened`` before it.
        """
        now = time.monotonic()
        begin = number - self.first + 1
        events = list(islice(self._kept, begin, begin + SLICE))
        encoded = b""
        for each, (since, event) in enumerate(events, number + 1):
            encoded += self._head(each, NAMES[type(event)]) + self._data(event) + b"}\n\n"
            if since >= opened:
                self.delays += 1
                self.delayed += now - since
        return number + len(events), encoded

    def _head(self, number: int, name: str) -> bytes:
        id_ = f"{self._start}-{number}"
        fields = encode_json({"event_v": 1, "event_type": name, "id": id_})[:-1].decode()
        return f'id: {id_}\nevent: {name}\ndata: {fields},"data":'.encode()

    def _data(self, event: Event) -> bytes:
        match event:
            case Started(instance) | Updated(new=instance):
                return self._encoder.encode(instance)
            case Stopped(instance, reason):
                data: dict[str, Any] = {"id": instance.id, "name": instance.name}
                return encode_json(data | {"backend": instance.backend, "reason": reason})
            case BackendDisconnected(backend, reason):
                return encode_json({"backend": backend, "reason": reason})
            case BackendReconnected(backend):
                return encode_json({"backend": backend})
            case _:
                raise AssertionError(f"{event} has no name")

    def snapshot(self) -> Iterator[bytes]:
        """Yield a snapshot of all visible instances in parts, with a line for each instance."""
        return self._parts(self._head(self.last, SNAPSHOT), list(self._registry.visible.values()))

    def _parts(self, head: bytes, instances: Sequence[Instance]) -> Iterator[bytes]:
        yield head + b'{"instances":['
        for at in range(0, len(instances), SLICE):
            lines = [self._encoder.encode(instance) for instance in instances[at : at + SLICE]]
            yield (b"," if at else b"") + b"\ndata: " + b",\ndata: ".join(lines)
        yield b"\ndata: ]}}\n\n"


class EventStream:
    """One stream; ``number`` is that of the last event that the client has, or -1 for none."""

    def __init__(
        self, streams: EventStreams, client: Client, number: int, heartbeat: float
    ) -> None:
        self.client = client
        self._streams = streams
        self._number = number
        self._heartbeat = heartbeat
        self._parts: Iterator[bytes] = iter((RETRY,))
        self._wakeup = asyncio.Event()
        self._ending = False
        self._last_part = END
        self._opened = time.monotonic()

    def wake(self) -> None:
        """Wake the stream for new events."""
        self._wakeup.set()

    def end(self) -> None:
        """End the stream once it has sent all events."""
        self._ending = True
        self._wakeup.set()

    def close(self) -> None:
        """Remove the stream from the open ones, and end it."""
        self._streams.close(self)
        self.end()

    async def next(self) -> bytes:
        """Wait for the next part; return b"" at the end."""
        while True:
            if part := next(self._parts, b""):
                return part
            if self._number < self._streams.first - 1:
                self._parts = self._streams.snapshot()
                self._number = self._streams.last
            elif self._number < self._streams.last:
                self._number, events = self._streams.after(self._number, self._opened)
                return events
            elif self._ending:
                part, self._last_part = self._last_part, b""
                return part
            elif not await self._wait():
                return HEARTBEAT

    async def _wait(self) -> bool:
        """Wait until woken; return False after the time of a heartbeat."""
        self._wakeup.clear()
        return await set_within(self._wakeup, self._heartbeat)
