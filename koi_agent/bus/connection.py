"""One connection to one bus: a unix socket that carries whole messages both ways."""

import asyncio
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter

from koi_agent.bus import sasl
from koi_agent.bus.calls import HELLO, OPEN_TIMEOUT, is_reply, unique_name
from koi_agent.bus.errors import BusLost, reason_of
from koi_agent.bus.messages import Message, MessageType
from koi_agent.bus.signals import Batch, SignalReader
from koi_agent.bus.writer import Writer
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.timeouts import timeout

READ_SIZE = 256 * 1024
"""Bytes read at a time."""
FULL = 64 * 1024
"""Bytes in a socket that the bus may have filled. The kernel's default for a socket is 208 KiB, of
which small messages need half for themselves."""

BURST = 16 * 1024
"""Bytes in one read after which more signals follow: systemd sends 20 KiB when a unit starts and
stops."""
SIGNAL = bytes((MessageType.SIGNAL,))
"""The second byte of a signal."""


@frozen(kw_only=True)
class Timing:
    """How long a connection waits, in seconds."""

    open: float = OPEN_TIMEOUT
    """From connect() to the answer of Hello."""

    # Signals come in bursts, and a wake-up costs more than reading ten of them. So the first
    # waits a moment for the others.
    read_pause: float = 0.006

    # While calls wait for replies, which come one by one and among signals, the pause is short.
    # So it is after a read of a full socket, for which the bus has more messages.
    short_pause: float = 0.004

    # Between attempts to reconnect. Short, because a host without a bus is broken, and a try is
    # cheap.
    first_retry: float = 0.1
    longest_retry: float = 2.0


DEFAULT_TIMING = Timing()


class MessageSocket:
    """A connection that is open until ``closed``; made by ``open_socket``.

    ``name`` is its unique name. ``reader`` decides which signals are read, and ``writer`` sends.
    ``on_call`` gets each method call.
    """

    def __init__(
        self, sock: socket.socket, on_call: Callable[[Message], None], timing: Timing
    ) -> None:
        self.name = ""
        self.reader = SignalReader()
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._fd = sock.fileno()
        self._on_call = on_call
        self._timing = timing
        self._reason: BaseException | None = None
        self._ended = self._loop.create_future()
        self._last_serial = 0
        self._replies: dict[int, asyncio.Future[Message | None]] = {}
        self._pausing: asyncio.TimerHandle | None = None
        self._received = memoryview(bytearray(READ_SIZE))
        self.writer = Writer(self._loop, sock, self._close)
        # It reports the socket once after each ``_listen``. To remove the socket from the loop for
        # each pause, and to add it again, takes ten times as long.
        self._arrivals = select.epoll()
        self._arrivals.register(self._fd, 0)
        self._loop.add_reader(self._arrivals.fileno(), self._on_readable)
        self._listen()

    @property
    def reason(self) -> str:
        """The reason for which the connection ended."""
        return reason_of(self._reason)

    def next_serial(self) -> int:
        """Return the serial of the next message."""
        self._last_serial = serial_after(self._last_serial)
        return self._last_serial

    def close(self) -> None:
        """End the connection now; calls under way fail with ``BusLost``."""
        self._close(None)

    async def wait_closed(self) -> str:
        """Wait until the connection is gone; returns the reason."""
        await asyncio.shield(self._ended)
        return self.reason

    async def wait_for(self, changed: asyncio.Event) -> None:
        """Wait until an event is set, and clear it; raise ``BusLost`` if the connection is gone.

        No task fails here: before Python 3.13, a group with such a task can lose a cancellation.
        """

        def wake(_ended: object) -> None:
            changed.set()

        self._ended.add_done_callback(wake)
        try:
            await changed.wait()
        finally:
            self._ended.remove_done_callback(wake)
        changed.clear()
        if self.closed:
            raise BusLost(self.reason)

    def write(self, frame: bytes) -> None:
        """Queue a message; raises ``BusLost``."""
        if self.closed:
            raise BusLost(self.reason)
        self.writer.write(frame)

    @property
    def writable(self) -> bool:
        """True if ``drain`` would return at once."""
        return self.writer.writable

    async def drain(self) -> None:
        """Wait until little is queued, or the connection is gone."""
        if not self.closed:
            await self.writer.drain()

    async def ask(self, frame: bytes, serial: int, *, within: float) -> Message:
        """Write a method call and wait for its reply.

        Raises ``BusLost``, or ``TimeoutError`` after ``within`` seconds.
        """
        (reply,) = await self.ask_all({serial: frame}, within=within)
        return reply

    async def ask_all(self, frames: Mapping[int, bytes], *, within: float) -> list[Message]:
        """Write method calls, by serial, and wait for all replies; raises as ``ask`` does."""
        for serial, frame in frames.items():
            self.write(frame)
            self._replies[serial] = self._loop.create_future()
        self._shorten_pause()
        expected = [self._replies[serial] for serial in frames]
        try:
            async with timeout(within):
                replies = [await reply for reply in expected]
        finally:
            for serial in frames:
                self._replies.pop(serial, None)
        if None in replies:
            raise BusLost(self.reason)
        return [reply for reply in replies if reply]

    def _shorten_pause(self) -> None:
        """Read soon, because a call waits for its reply."""
        if self._pausing and self._pausing.when() > self._loop.time() + self._timing.short_pause:
            self._pausing.cancel()
            self._pause(self._timing.short_pause)

    def _listen(self) -> None:
        self._arrivals.modify(self._fd, select.EPOLLIN | select.EPOLLONESHOT)

    def _on_readable(self) -> None:
        """Read now if a call waits for its reply, or if a call has come; pause before signals."""
        if not self._arrivals.poll(0):
            return
        if self._replies or not self._is_signal_next():
            self._read()
        else:
            self._pause(self._timing.read_pause)

    def _is_signal_next(self) -> bool:
        """Return True if the socket has a signal, or bytes that look like one."""
        try:
            return self._sock.recv(2, socket.MSG_PEEK)[1:] == SIGNAL
        except OSError:
            return False  # reading reports the error

    def _pause(self, seconds: float) -> None:
        self._pausing = self._loop.call_later(seconds, self._read)

    def _read(self) -> None:
        """Read once, because the socket is readable or a pause is over."""
        self._pausing = None
        try:
            received = self._receive()
            batch, messages = self.reader.feed(received)
        except (BlockingIOError, InterruptedError):
            self._listen()
            return
        except (OSError, BusLost, BadInput) as error:
            self._close(error)
            return
        try:
            with self.writer.together():
                self._deliver(batch)
                for message in messages:
                    self._dispatch(message)
        except Exception as bug:
            # Any bug in a subscriber costs it a signal: it must list again, as after a loss.
            self._close(bug)
            raise
        if not self.closed:
            self._after_read(len(received), batch, messages)

    def _receive(self) -> memoryview:
        size = self._sock.recv_into(self._received)
        if not size:
            raise BusLost("the bus closed the connection")
        return self._received[:size]

    def _deliver(self, batch: Batch) -> None:
        for subscription, items in groupby(batch, key=itemgetter(0)):
            subscription.deliver([item for _, item in items])

    def _dispatch(self, message: Message) -> None:
        header = message.header
        if header.kind == MessageType.CALL:
            self._on_call(message)
        elif is_reply(header):
            reply = self._replies.pop(header.reply_serial, None)
            if reply and not reply.done():
                reply.set_result(message)

    def _after_read(self, size: int, batch: Batch, messages: Sequence[Message]) -> None:
        """Pause after signals, and while replies are expected; a call gets its reply at once."""
        if any(message.header.kind == MessageType.CALL for message in messages):
            self._listen()
        elif size > FULL or (self._replies and (batch or messages)):
            self._pause(self._timing.short_pause)
        elif size > BURST:
            self._pause(self._timing.read_pause)
        else:
            self._listen()

    def _close(self, error: BaseException | None) -> None:
        if self.closed:
            return
        self.closed = True
        self._reason = error
        if self._pausing:
            self._pausing.cancel()
        self._loop.remove_reader(self._arrivals.fileno())
        self._arrivals.close()
        self.writer.close()
        self._sock.close()
        for reply in self._replies.values():
            if not reply.done():
                reply.set_result(None)
        self._replies.clear()
        self._ended.set_result(None)


async def open_socket(
    address: str, on_call: Callable[[Message], None], timing: Timing = DEFAULT_TIMING
) -> MessageSocket:
    """Connect, authenticate and call Hello; raises ``BusLost``."""
    try:
        async with timeout(timing.open):
            opened = MessageSocket(await sasl.connect(address), on_call, timing)
            with ExitStack() as undo:
                undo.callback(opened.close)
                opened.name = await _hello(opened, timing.open)
                undo.pop_all()
            return opened
    except (OSError, BadInput) as error:
        raise BusLost(reason_of(error)) from error


async def _hello(opened: MessageSocket, within: float) -> str:
    """Return the unique name that the bus gives to the connection."""
    serial = opened.next_serial()
    return unique_name(await opened.ask(HELLO.frame(serial), serial, within=within))


def serial_after(serial: int) -> int:
    """Return the serial after this one: 1 after the last of 32 bits, as 0 is not valid."""
    return serial % 0xFFFFFFFF + 1
