"""The outgoing half of a connection, for a bus that reads slowly or not at all."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

from koi_agent.bus.errors import BusLost

__all__ = ["BusLost", "Writer"]

QUEUE_LIMIT = 64 * 1024 * 1024
"""Bytes that may be queued. Beyond that, the bus counts as dead and the connection ends."""
QUEUE_MARK = 256 * 1024
"""Bytes that may be queued before callers of ``drain`` wait."""
FRAMES_AT_ONCE = 64
"""Messages that are sent in one iteration of the loop, so that other tasks run in a flood."""
SENT_LATELY = 0.001
"""Seconds between two system calls that send. In a flood, the messages of the next block come
sooner. They wait for the next iteration of the loop, and are sent with those that follow."""


class Writer:
    """A queue of outgoing messages, in order and bounded in bytes.

    ``fail`` gets the error that ends the connection. ``size`` is the number of queued bytes.
    """

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
        self._scheduled: asyncio.Handle | None = None
        self._blocked = False
        self._blocks = 0
        self._sent_at = 0.0
        self._closed = False
        self._draining: list[asyncio.Future[None]] = []
        self.size = 0

    def write(self, frame: bytes) -> None:
        """Queue a message; raises ``BusLost`` if the queue is full."""
        if self.size > QUEUE_LIMIT:
            lost = BusLost(f"the bus has left {self.size} bytes unread")
            self._fail(lost)
            raise lost
        self._frames.append(frame)
        self.size += len(frame)
        if not (self._scheduled or self._blocked or self._blocks):
            self._scheduled = self._loop.call_soon(self._flush)

    @property
    def writable(self) -> bool:
        """True if ``drain`` would return at once."""
        return self.size < QUEUE_MARK

    @contextmanager
    def together(self) -> Iterator[None]:
        """Send what is written in a block at its end, with one system call if it is not much.

        A block awaits nothing, and may have others in it. If the writer has just sent something, it
        sends in the next iteration of the loop.
        """
        self._blocks += 1
        try:
            yield
        finally:
            self._blocks -= 1
            if self._frames and not (
                self._blocks or self._scheduled or self._blocked or self._closed
            ):
                self._send_block()

    def _send_block(self) -> None:
        if self._loop.time() - self._sent_at > SENT_LATELY:
            self._flush()
        else:
            self._scheduled = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = None
        try:
            self._send()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._fail(error)
            return
        self._set_blocked(blocked=bool(self._frames))
        if self.writable:
            self._wake()

    def _send(self) -> None:
        """Send some messages with one system call, which costs more than they do."""
        first, *others = islice(self._frames, FRAMES_AT_ONCE)
        self._sent_at = self._loop.time()
        sent = self._sock.sendmsg((memoryview(first)[self._sent :], *others))
        self.size -= sent
        self._sent += sent
        while self._frames and self._sent >= len(self._frames[0]):
            self._sent -= len(self._frames.popleft())

    def _set_blocked(self, *, blocked: bool) -> None:
        """Wait until the socket is writable, or stop waiting."""
        if blocked and not self._blocked:
            self._loop.add_writer(self._sock.fileno(), self._flush)
        elif self._blocked and not blocked:
            self._loop.remove_writer(self._sock.fileno())
        self._blocked = blocked

    async def drain(self) -> None:
        """Wait until little is queued, or the connection is gone."""
        if self.writable:
            return
        drained = self._loop.create_future()
        self._draining.append(drained)
        await drained

    def close(self) -> None:
        """Stop sending, and let the callers of ``drain`` continue."""
        self._closed = True
        if self._scheduled:
            self._scheduled.cancel()
        self._set_blocked(blocked=False)
        self._wake()

    def _wake(self) -> None:
        for drained in self._draining:
            if not drained.done():
                drained.set_result(None)
        self._draining.clear()
