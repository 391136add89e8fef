"""A connection that waits for the reply of each call: for commands, which must start fast.

It shares addresses, authentication, calls and messages with ``client``, and loads neither asyncio
nor dbus-next. Every wait has a deadline. Signals and calls of others are dropped.

A busy bus takes long for each answer, so authentication and Hello are not waited for: the first
call follows them at once, as sd-bus does it.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any, Final, NamedTuple

from koi_agent.bus import authentication
from koi_agent.bus.address import SocketAddress, socket_addresses
from koi_agent.bus.calls import (
    CALL_TIMEOUT,
    HELLO,
    OPEN_TIMEOUT,
    PROPERTIES,
    Call,
    is_reply,
    unique_name,
    values_of,
)
from koi_agent.bus.errors import BusLost, reason_of
from koi_agent.bus.messages import Message, decode, extent
from koi_agent.core.errors import BadInput

READ_SIZE: Final = 256 * 1024
"""Bytes read at a time."""
CLOSED: Final = "the bus closed the connection"
HELLO_SERIAL: Final = 1
"""The serial of Hello; those of the calls follow."""
CONNECT_PAUSE: Final = 0.01
"""Seconds until the next attempt to connect, while too many connections wait at the bus."""


class Deadline(NamedTuple):
    """A time of the monotonic clock, in seconds."""

    time: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the deadline that is this long from now."""
        return cls(monotonic() + seconds)

    def bound(self, sock: socket.socket) -> None:
        """Set the timeout of a socket's next operation; raises ``TimeoutError`` if none is left."""
        left = self.time - monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)


class BlockingConnection:
    """A live connection. Once it is gone, all its methods raise ``BusLost``.

    The first call must have the bus's answers to authentication and Hello before ``opening``.
    ``guid`` is the GUID that the bus must have, "" for any.
    """

    def __init__(self, sock: socket.socket, guid: str, opening: Deadline) -> None:
        self._sock = sock
        self._guid = guid
        self._opening: Deadline | None = opening
        self._received = bytearray()
        self._serial = HELLO_SERIAL
        self._lost = ""

    def call(
        self,
        target: tuple[str, str, str],
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        within: float = CALL_TIMEOUT,
        flags: int = 0,
    ) -> list[Any]:
        """Call a method of ``target`` (destination, path, interface); returns its values.

        Raises as ``values`` does.
        """
        call = Call(target, member, signature, body)
        return self.values(call, within=within, flags=flags)

    def values(self, call: Call, *, within: float = CALL_TIMEOUT, flags: int = 0) -> list[Any]:
        """Return the values of a call; a variant is replaced by its content.

        Raises ``CallError`` for an error reply and for values of another type than the call has,
        ``BusLost``, or ``TimeoutError`` after ``within`` seconds.
        """
        return values_of(self.ask(call, within=within, flags=flags), call.returns)

    def ask(self, call: Call, *, within: float = CALL_TIMEOUT, flags: int = 0) -> Message:
        """Send a call and wait for its reply, which may be an error.

        Raises ``BusLost``, or ``TimeoutError`` after ``within`` seconds.
        """
        if self._lost:
            raise BusLost(self._lost)
        try:
            return self._ask(call, flags, Deadline.after(within))
        except TimeoutError:
            raise
        except BusLost as lost:
            self._lost = str(lost)
            raise
        except (OSError, BadInput) as error:
            self._lost = reason_of(error)
            raise BusLost(self._lost) from None

    def get(self, destination: str, path: str, interface: str, name: str) -> Any:
        """Return the value of a property; raises as ``call`` does."""
        target = (destination, path, PROPERTIES)
        return self.values(Call(target, "Get", "ss", (interface, name), "v"))[0]

    def _ask(self, call: Call, flags: int, deadline: Deadline) -> Message:
        self._serial += 1
        frame = call.frame(self._serial, flags)
        if self._opening:
            self._open(frame, self._opening)
            self._opening = None
        else:
            self._send(frame, deadline)
        return self._reply(self._serial, deadline)

    def _open(self, first: bytes, deadline: Deadline) -> None:
        """Send authentication, Hello and the first call; check the answers to the former two."""
        hello = HELLO.frame(HELLO_SERIAL)
        try:
            self._send(authentication.request() + authentication.BEGIN + hello + first, deadline)
            authentication.check(self._line(deadline), self._guid)
            unique_name(self._reply(HELLO_SERIAL, deadline))
        except (OSError, BadInput) as error:
            raise BusLost(reason_of(error)) from error

    def _line(self, deadline: Deadline) -> str:
        """Return the bus's answer to the authentication."""
        while (found := authentication.line_of(bytes(self._received))) is None:
            self._receive(authentication.CLOSED, deadline)
        line, self._received = found[0], bytearray(found[1])
        return line

    def _reply(self, serial: int, deadline: Deadline) -> Message:
        """Return the reply to the call with this serial."""
        while True:
            message = self._next(deadline)
            if message and is_reply(message.header) and message.header.reply_serial == serial:
                return message

    def _send(self, frame: bytes, deadline: Deadline) -> None:
        deadline.bound(self._sock)
        try:
            self._sock.sendall(frame)
        except TimeoutError as error:
            # The bus may have read a part of the message: no other message can follow.
            raise BusLost(reason_of(error)) from error

    def _next(self, deadline: Deadline) -> Message | None:
        """Return the next message; ``None`` if its header cannot be read.

        Raises ``BadInput`` if the stream is not D-Bus.
        """
        data = self._received
        self._fill(16, deadline)
        _, begin, end = extent(data, 0)
        self._fill(end, deadline)
        message = None
        with suppress(BadInput):
            message = Message(decode(data, 0), bytes(memoryview(data)[begin:end]), data[0])
        del data[:end]
        return message

    def _fill(self, size: int, deadline: Deadline) -> None:
        """Receive until this many bytes are there."""
        while len(self._received) < size:
            self._receive(CLOSED, deadline)

    def _receive(self, closed: str, deadline: Deadline) -> None:
        """Receive what is there; raises ``BusLost`` with the text ``closed`` at the end."""
        deadline.bound(self._sock)
        received = b""
        with suppress(ConnectionResetError):  # the other side closed before it read all
            received = self._sock.recv(READ_SIZE)
        if not received:
            raise BusLost(closed)
        self._received += received


@contextmanager
def connected(address: str, *, within: float = OPEN_TIMEOUT) -> Iterator[BlockingConnection]:
    """Connect until the block is left; raises ``BusLost``.

    The bus has ``within`` seconds to accept the connection. A bus that refuses it fails the first
    call.
    """
    deadline = Deadline.after(within)
    try:
        sock, guid = _connect(socket_addresses(address), deadline)
    except OSError as error:
        raise BusLost(reason_of(error)) from error
    with sock:
        yield BlockingConnection(sock, guid, deadline)


def _connect(targets: Sequence[SocketAddress], deadline: Deadline) -> tuple[socket.socket, str]:
    """Return a connected socket, and the GUID that its server must have, or ""."""
    *others, last = targets
    for target in others:
        with suppress(OSError):
            return _socket(target, deadline), target.guid
    return _socket(last, deadline), last.guid


def _socket(target: SocketAddress, deadline: Deadline) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _wait_connected(sock, target, deadline)
    except OSError:
        sock.close()
        raise
    return sock


def _wait_connected(sock: socket.socket, target: SocketAddress, deadline: Deadline) -> None:
    """Connect a socket; raises ``OSError``.

    The kernel does not wait if the queue of the listening socket is full, as while many commands
    start at the same time.
    """
    while True:
        deadline.bound(sock)
        with suppress(BlockingIOError):
            sock.connect(target.path)
            return
        sleep(CONNECT_PAUSE)
