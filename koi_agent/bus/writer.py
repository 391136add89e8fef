"""The outgoing half of a connection, for a bus that reads slowly or not at all."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable

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
        self._writing = False
        self._room: list[asyncio.Future[None]] = []
        self.size = 0

    def write(self, frame: bytes) -> None:
        """Queue a message; raises ``BusLost`` where the bus has stopped reading for long."""
        if self.size > QUEUE_LIMIT:
            lost = BusLost(f"the bus left {self.size} bytes unread")
            self._fail(lost)
            raise lost
        self._frames.append(frame)
        self.size += len(frame)
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._sock, self._flush)

    def _flush(self) -> None:
        try:
            for _ in range(min(WRITE_SLICE, len(self._frames))):
                self._send_first()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        if not self._frames:
            self._writing = False
            self._loop.remove_writer(self._sock)
        if self.size < QUEUE_MARK:
            self._release()

    def _send_first(self) -> None:
        frame = self._frames[0]
        sent = self._sock.send(memoryview(frame)[self._sent :])
        self._sent += sent
        self.size -= sent
        if self._sent < len(frame):
            raise BlockingIOError
        self._frames.popleft()
        self._sent = 0

    async def room(self) -> None:
        """Wait until little is queued, or the connection is gone."""
        if self.size < QUEUE_MARK:
            return
        waiting = self._loop.create_future()
        self._room.append(waiting)
        await waiting

    def close(self) -> None:
        """Write no more; whoever waits for room goes on, and finds the connection gone."""
        self._loop.remove_writer(self._sock)
        self._release()

    def _release(self) -> None:
        for waiting in self._room:
            if not waiting.done():
                waiting.set_result(None)
        self._room.clear()
