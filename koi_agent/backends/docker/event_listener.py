"""The event stream of one connection: opened before the first list, and again when it ends."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Final, Never, Protocol

from koi_agent.backends.docker.api import DockerAPI
from koi_agent.backends.docker.events import Event, EventHistory, parse_event
from koi_agent.backends.docker.tunables import Tunables
from koi_agent.backends.http_engine.client import RequestRefused
from koi_agent.backends.http_engine.streams import LineStream
from koi_agent.core.backoff import pauses
from koi_agent.core.errors import BackendLost, BadInput

log = logging.getLogger(__name__)

TURN: Final = 32
"""Events applied before other tasks run."""
BURST: Final = 8
"""Number of events in one round after which the next round waits, because more will follow."""
PAUSE_EACH: Final = 0.001
LONGEST_PAUSE: Final = 0.02
"""Seconds of that wait, for each event and at most. It reduces wake-ups in a flood."""


class EventConsumer(Protocol):
    """The consumer of an engine's events."""

    def apply_event(self, event: Event) -> None:
        """Apply a new event."""

    def bad_event(self, bad: BadInput) -> None:
        """Handle an event that could not be parsed."""

    def events_lost(self, reason: str) -> None:
        """Handle the loss of any number of events, of any container."""

    def stream_ended(self, reason: str) -> None:
        """Handle that events between two streams may be missing."""


class EventListener:
    """Reads the events of one engine, and passes those to ``consumer`` that ``history`` lacks."""

    def __init__(
        self, api: DockerAPI, history: EventHistory, consumer: EventConsumer, tunables: Tunables
    ) -> None:
        self._api = api
        self._history = history
        self._consumer = consumer
        self._tunables = tunables
        self._stream: LineStream | None = None
        self._refusal = ""
        self._pending: deque[tuple[int, bytes]] = deque()  # number of the stream, line
        self._arrived = asyncio.Event()
        self._apply_waits = False

    async def open(self) -> None:
        """Open the stream; raise ``BackendLost`` if the engine does not answer.

        An engine may refuse: Podman does without a journal or a log file. Then it has no events.
        """
        since = self._history.start_stream(self._last_received())
        try:
            self._stream = await self._api.open_events(since)
        except RequestRefused as refused:
            log.debug("%s", refused)
            self._refusal = f"the engine has no events (HTTP status {refused.status})"

    def close(self) -> None:
        """Close the stream."""
        if self._stream:
            self._stream.close()
            self._stream = None

    async def read(self) -> Never:
        """Read the stream, and open it again whenever it ends; raise ``BackendLost``."""
        delays = pauses(self._tunables.first_poll, self._tunables.longest_poll)
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            reason = await self._read_to_end()
            if clock() - began > self._tunables.short_stream:
                delays = pauses(self._tunables.first_poll, self._tunables.longest_poll)
            else:
                await asyncio.sleep(next(delays))
            await self._reopen()
            self._consumer.stream_ended(reason)

    async def _read_to_end(self) -> str:
        """Read until the stream ends; return why a list is needed. Raise ``BackendLost``."""
        if self._stream is None:
            return self._refusal
        try:
            with closing(self._stream) as stream:
                await stream.follow(self._put)
        except BackendLost:
            if not self._api.engine.kind.exits_when_idle:
                raise
        finally:
            self._stream = None
        return "the event stream ended"

    async def _reopen(self) -> None:
        try:
            await self.open()
        except BackendLost:
            if not self._api.engine.kind.exits_when_idle:
                raise
            # The service may have exited between two requests. The next one starts it.
            await self._api.check()
            await self.open()

    def _put(self, lines: Sequence[bytes]) -> None:
        """Apply a few lines, or store many for ``apply``.

        Nothing here waits: an engine drops events of a slow reader silently. To wake the task of
        ``apply`` takes as long as to apply an event.
        """
        self._pending.extend((self._history.stream, line) for line in lines)
        if self._apply_waits and len(self._pending) < BURST:
            self._apply_some(len(self._pending))
            return
        self._arrived.set()
        if len(self._pending) > self._tunables.max_pending_events:
            self._pending.clear()
            text = f"more than {self._tunables.max_pending_events} events are pending"
            self._consumer.events_lost(text)

    async def apply(self) -> Never:
        """Apply the events that were read, in order, some at a time."""
        while True:
            self._apply_waits = not self._arrived.is_set()
            await self._arrived.wait()
            self._apply_waits = False
            self._arrived.clear()
            applied = 0
            while self._pending:
                turn = min(TURN, len(self._pending))
                self._apply_some(turn)
                applied += turn
                if self._pending:
                    await asyncio.sleep(0)
            if applied >= BURST:
                await asyncio.sleep(min(LONGEST_PAUSE, applied * PAUSE_EACH))

    def _apply_some(self, count: int) -> None:
        for _ in range(count):
            self._apply(*self._pending.popleft())

    def _last_received(self) -> int:
        """Return the time of the last event that waits to be applied, 0 without one."""
        for _, line in reversed(self._pending):
            with suppress(BadInput):
                if (event := parse_event(line)) and event.time:
                    return event.time
        return 0

    def _apply(self, stream: int, line: bytes) -> None:
        try:
            event = parse_event(line)
        except BadInput as bad:
            self._consumer.bad_event(bad)
            return
        if event and self._history.add(event, stream):
            self._consumer.apply_event(event)
