"""The outgoing half of a connection, for a bus that reads slowly or not at all."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from itertools import islice

from koi_agent.core.errors import KoiError

QUEUE_LIMIT = 64 * 1024 * 1024
"""Bytes that may wait for a bus that does not read; past that the connection is given up."""
QUEUE_MARK = 256 * 1024
"""Bytes that may wait before whoever can wait should."""
WRITE_SLICE = 64
"""Messages written in one turn of the loop, so that a flood leaves room for others."""


class BusLost(KoiError):
    """The connection to the bus is gone, or could not be made."""


class Writer:
    """The queue of outgoing messages: in order, bounded in bytes, patient with a full socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._fail = fail
        self._frames: deque[bytes] = deque()
        self._sent = 0
        self._soon: asyncio.Handle | None = None
        self._waiting = False
        self._corked = False
        self._drained: list[asyncio.Future[None]] = []
        self.size = 0

    def write(self, frame: bytes) -> None:
        """Queue a message; raises ``BusLost`` where the bus has stopped reading for long."""
        if self.size > QUEUE_LIMIT:
            lost = BusLost(f"the bus left {self.size} bytes unread")
            self._fail(lost)
            raise lost
        self._frames.append(frame)
        self.size += len(frame)
        if not (self._soon or self._waiting or self._corked):
            self._soon = self._loop.call_soon(self._flush)

    @property
    def writable(self) -> bool:
        """Whether so little is queued that nobody need wait."""
        return self.size < QUEUE_MARK

    def cork(self) -> None:
        """Send nothing until ``uncork``: who knows when he is done saves a turn of the loop."""
        self._corked = True

    def uncork(self) -> None:
        """Send what was queued since ``cork``."""
        self._corked = False
        if self._frames and not (self._soon or self._waiting):
            self._flush()

    def _flush(self) -> None:
        self._soon = None
        try:
            self._send()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._fail(error)
            return
        self._wait(until_writable=bool(self._frames))
        if self.writable:
            self._wake()

    def _send(self) -> None:
        """Send some messages by one call to the kernel, which costs more than they do."""
        first, *others = islice(self._frames, WRITE_SLICE)
        sent = self._sock.sendmsg((memoryview(first)[self._sent :], *others))
        self.size -= sent
        self._sent += sent
        while self._frames and self._sent >= len(self._frames[0]):
            self._sent -= len(self._frames.popleft())

    def _wait(self, *, until_writable: bool) -> None:
        if until_writable and not self._waiting:
            self._loop.add_writer(self._sock.fileno(), self._flush)
        elif self._waiting and not until_writable:
            self._loop.remove_writer(self._sock.fileno())
        self._waiting = until_writable

    async def drain(self) -> None:
        """Wait until little is queued, or the connection is gone."""
        if self.writable:
            return
        waiting = self._loop.create_future()
        self._drained.append(waiting)
        await waiting

    def close(self) -> None:
        """Write no more; whoever waits for room goes on, and finds the connection gone."""
        if self._soon:
            self._soon.cancel()
        self._wait(until_writable=False)
        self._wake()

    def _wake(self) -> None:
        for waiting in self._drained:
            if not waiting.done():
                waiting.set_result(None)
        self._drained.clear()
