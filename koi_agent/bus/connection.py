"""One connection to one bus: dbus-next's MessageBus with its defects mended.

Stock dbus-next 0.2.3 drops its connection when the socket is full, spins for ever when the
bus closes during authentication, never ends a call after a disconnect, leaks the handlers of
calls that timed out and the descriptors of connections that ended. Each is answered here by
overriding a private name, which is why the version is pinned; ``PRIVATE_NAMES`` lists them.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping

from dbus_next.aio.message_bus import MessageBus
from dbus_next.errors import AuthError, InvalidAddressError

from koi_agent.bus.messages import Header, MessageType, encode
from koi_agent.bus.signals import Batch, Changed, Message, Signal, SignalReader, Subscription
from koi_agent.bus.writer import BusLost, Writer
from koi_agent.core.errors import BadInput, KoiError

PRIVATE_NAMES = (
    "_auth_readline",
    "_authenticate",
    "_bus_address",
    "_disconnect_future",
    "_fd",
    "_finalize",
    "_loop",
    "_message_reader",
    "_method_return_handlers",
    "_setup_socket",
    "_sock",
    "_stream",
)
"""What this class uses of MessageBus that is not promised to stay."""

READ_SIZE = 256 * 1024
READ_PAUSE, LONG_READ_PAUSE = 0.01, 0.02
"""Seconds the socket is left alone after signals were read. Signals come in flocks, and a
wake-up costs more than reading ten of them: the first is seen at once, its followers together.
Where a read after a pause finds signals again, the next pause is the long one.
"""
OPEN_TIMEOUT = 5.0
AUTH_LINE_LIMIT = 16 * 1024


class Transport(MessageBus):
    """One connection, from ``open`` until ``closed``; it is never opened twice.

    ``reader`` decides which signals are read; ``on_call`` gets each method call.
    """

    def __init__(self, address: str, on_call: Callable[[Message], None]) -> None:
        try:
            super().__init__(bus_address=address)
        except InvalidAddressError as error:
            raise BusLost(f"bus address {address!r}: {error}") from error
        self._last_serial = 0
        self.reader = SignalReader()
        self.closed = False
        self.reason: BaseException | None = None
        self._on_call = on_call
        self._pausing: asyncio.TimerHandle | None = None
        self._next_pause = READ_PAUSE
        self._listening = False
        self._queue = Writer(self._loop, self._sock, self._finalize)

    async def open(self) -> str:
        """Connect, authenticate and say Hello; returns our unique name, raises ``BusLost``."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                await self._loop.sock_connect(self._sock, self._target)
                await self._authenticate()
                self._listen()
                return await self._hello()
        except (OSError, AuthError, KoiError, ValueError) as error:
            self._finalize(error)
            raise BusLost(reason_of(error)) from error
        except BaseException:
            self._finalize(None)
            raise

    async def _hello(self) -> str:
        hello = Header(
            kind=MessageType.CALL,
            serial=self.next_serial(),
            path="/org/freedesktop/DBus",
            interface="org.freedesktop.DBus",
            member="Hello",
            destination="org.freedesktop.DBus",
        )
        reply = await self.ask(encode(hello), hello.serial, within=OPEN_TIMEOUT)
        if reply.header.kind != MessageType.RETURN or reply.header.signature != "s":
            raise BusLost(f"the bus answered Hello with {reply.header.error_name or 'nonsense'}")
        return str(reply.values()[0])

    def close(self) -> None:
        """End the connection now; calls under way fail with ``BusLost``."""
        self._finalize(None)

    async def wait_closed(self) -> str:
        """Wait until the connection is gone; returns why."""
        await asyncio.shield(self._disconnect_future)
        return reason_of(self.reason)

    def write(self, frame: bytes) -> None:
        """Queue a message; raises ``BusLost``."""
        if self.closed:
            raise BusLost(reason_of(self.reason))
        self._queue.write(frame)

    @property
    def roomy(self) -> bool:
        """Whether ``room`` would return at once."""
        return self._queue.roomy

    async def room(self) -> None:
        """Wait until little is queued, or the connection is gone."""
        if not self.closed:
            await self._queue.room()

    async def ask(self, frame: bytes, serial: int, *, within: float) -> Message:
        """Write a method call and wait for its reply.

        Raises ``BusLost``, or ``TimeoutError`` after ``within`` seconds.
        """
        reply: asyncio.Future[Message] = self._loop.create_future()

        def settle(message: Message | None, error: BaseException | None) -> None:
            if reply.done():
                return
            if message is None:
                reply.set_exception(BusLost(reason_of(error)))
            else:
                reply.set_result(message)

        self.write(frame)
        self.resume()
        self._method_return_handlers[serial] = settle
        try:
            async with asyncio.timeout(within):
                return await reply
        finally:
            self._method_return_handlers.pop(serial, None)

    # What follows overrides MessageBus.

    def next_serial(self) -> int:
        """Count messages; after four billion the numbers begin again, as 0 is no serial."""
        self._last_serial = self._last_serial % 0xFFFFFFFF + 1
        return self._last_serial

    def _setup_socket(self) -> None:
        """Make the socket only: connecting may block, and belongs into ``open``."""
        places = (_place(*address) for address in self._bus_address)
        self._target = next(filter(None, places), "")
        if not self._target:
            raise BusLost("bus address: only unix:path= and unix:abstract= are known")
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._stream = self._sock.makefile("rwb")
        self._fd = self._sock.fileno()

    async def _auth_readline(self) -> str:
        line = b""
        while not line.endswith(b"\r\n"):
            received = await self._loop.sock_recv(self._sock, 1024)
            if not received or len(line) > AUTH_LINE_LIMIT:
                raise AuthError("the bus closed the connection during authentication")
            line += received
        return line[:-2].decode()

    def _message_reader(self) -> None:
        """Read once, be it that the socket is readable or that a pause is over."""
        self._pausing = None
        try:
            batch, messages = self.reader.feed(self._receive())
        except (BlockingIOError, InterruptedError):
            self._listen()
            return
        except (OSError, EOFError, BadInput) as error:
            self._finalize(error)
            return
        self._queue.hold()
        try:
            self._deliver(batch)
            for message in messages:
                self._dispatch(message)
        except Exception as bug:
            # Whoever has missed a signal must list again, as after any loss.
            self._finalize(bug)
            raise
        if not self.closed:
            self._queue.release()
        if self.closed:
            return
        if batch and not messages and not self._method_return_handlers:
            self._pause()
        else:
            self._listen()

    def _receive(self) -> bytes:
        received = self._sock.recv(READ_SIZE)
        if not received:
            raise EOFError("the bus closed the connection")
        return received

    def _deliver(self, batch: Batch) -> None:
        by_subscription: dict[Subscription, list[Signal | Changed]] = {}
        for subscription, item in batch:
            by_subscription.setdefault(subscription, []).append(item)
        for subscription, items in by_subscription.items():
            subscription.deliver(items)

    def _dispatch(self, message: Message) -> None:
        header = message.header
        if header.kind == MessageType.CALL:
            self._on_call(message)
            return
        handler = self._method_return_handlers.get(header.reply_serial)
        if handler and header.kind in (MessageType.RETURN, MessageType.ERROR):
            handler(message, None)

    def _listen(self) -> None:
        self._next_pause = READ_PAUSE
        if not self._listening:
            self._listening = True
            self._loop.add_reader(self._fd, self._message_reader)

    def _pause(self) -> None:
        if self._listening:
            self._listening = False
            self._loop.remove_reader(self._fd)
        self._pausing = self._loop.call_later(self._next_pause, self._message_reader)
        self._next_pause = LONG_READ_PAUSE

    def resume(self) -> None:
        """Read again at once, where reading was paused."""
        if self._pausing:
            self._pausing.cancel()
            self._pausing = None
            self._listen()

    def _finalize(self, err: BaseException | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        self.reason = err
        if self._pausing:
            self._pausing.cancel()
        self._loop.remove_reader(self._fd)
        self._queue.close()
        self._stream.close()
        self._sock.close()
        handlers = list(self._method_return_handlers.values())
        self._method_return_handlers.clear()
        for handler in handlers:
            handler(None, err)
        if not self._disconnect_future.done():
            self._disconnect_future.set_result(None)


def _place(transport: str, options: Mapping[str, str]) -> str:
    """Tell where a socket is, "" for an address that is none of a unix socket we can reach."""
    if transport != "unix":
        return ""
    abstract = options.get("abstract")
    return "\0" + abstract if abstract else options.get("path", "")


def reason_of(error: BaseException | None) -> str:
    """Say in words why a connection ended."""
    match error:
        case None:
            return "closed"
        case TimeoutError():
            return "the bus does not answer"
        case _:
            return str(error) or type(error).__name__
