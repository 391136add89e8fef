"""The client's side of a WebSocket (RFC 6455), without I/O.

Only what a server sends is read. The client sends no messages of its own, and answers pings.
"""

import os
import re
from base64 import b64encode
from hashlib import sha1
from typing import Final

from koi_agent.core.json_stream import StreamError

GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""The text that section 1.3 appends to the key of a handshake."""
SWITCHED: Final = 101
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})(?: |$)")
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_CONTROL: Final = 0x8
"""The bit of an opcode that is set in control frames."""
_MAX_CONTROL: Final = 125
"""Bytes of a control frame (section 5.5)."""
_FIN, _RESERVED, _OPCODE, _MASKED, _LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F
_LONGER: Final = {126: 2, 127: 8}
"""Bytes of the length that follow a short length of these values."""


def upgrade_request(target: str, host: str, key: str) -> bytes:
    """Return the request that opens a WebSocket; ``key`` is 16 random bytes in base64."""
    fields = (
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    )
    return "\r\n".join((f"GET {target} HTTP/1.1", *fields, "", "")).encode()


def accepted(key: str) -> str:
    """Return the proof that a server has read the key of a handshake (section 4.2.2)."""
    return b64encode(sha1(f"{key}{GUID}".encode(), usedforsecurity=False).digest()).decode()


def upgrade_status(head: bytes, key: str) -> int:
    """Return the status of the response to an upgrade; raise ``StreamError`` if it is not valid.

    ``SWITCHED`` means that frames follow. Any other status refuses the upgrade.
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _STATUS_LINE.match(first)
    if not found:
        raise StreamError("the response is not HTTP")
    pairs = (line.partition(b":") for line in lines)
    fields = {name.lower(): value.strip() for name, _, value in pairs}
    if int(found[1]) == SWITCHED and (
        fields.get(b"upgrade", b"").lower() != b"websocket"
        or fields.get(b"sec-websocket-accept") != accepted(key).encode()
    ):
        raise StreamError("the response does not accept the WebSocket")
    return int(found[1])


class MessageReader:
    """Cuts the bytes of a server into messages of at most ``limit`` bytes.

    ``is_closed`` is set when the server has ended the connection.
    """

    def __init__(self, limit: int) -> None:
        self.is_closed = False
        self._limit = limit
        self._data = bytearray()
        self._message = bytearray()
        self._is_open = False  # a message has begun, and its last frame has not come
        self._is_too_long = False
        self._skipped = 0  # bytes of a frame that are still to be dropped
        self._replies = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that ``data`` completes; raise ``StreamError`` for invalid frames.

        A message that is longer than the limit becomes an empty one, so that the caller detects
        the loss.
        """
        self._data += data
        messages: list[bytes] = []
        while not self.is_closed and self._read_frame(messages):
            pass
        return messages

    def take_replies(self) -> bytes:
        """Remove and return the frames to send to the server."""
        replies = bytes(self._replies)
        self._replies.clear()
        return replies

    def _read_frame(self, messages: list[bytes]) -> bool:
        """Read one frame, or drop a part of one; return False if more bytes must come first."""
        if self._skipped:
            return self._skip()
        extent = self._extent()
        if extent is None:
            return False
        start, length = extent
        first = self._data[0]
        is_last, opcode = bool(first & _FIN), first & _OPCODE
        self._check(first, length)
        if not opcode & _CONTROL and len(self._message) + length > self._limit:
            self._begin_skipping(start, length, messages, is_last=is_last)
            return True
        if len(self._data) < start + length:
            return False
        payload = bytes(self._data[start : start + length])
        del self._data[: start + length]
        if opcode & _CONTROL:
            self._on_control(opcode, payload)
        else:
            self._message += payload
            self._end_frame(messages, is_last=is_last)
        return True

    def _extent(self) -> tuple[int, int] | None:
        """Return the offset and the length of the payload, None if the header is not complete."""
        if len(self._data) < 2:
            return None
        short = self._data[1] & _LENGTH
        start = 2 + _LONGER.get(short, 0)
        if len(self._data) < start:
            return None
        return start, short if start == 2 else int.from_bytes(self._data[2:start], "big")

    def _check(self, first: int, length: int) -> None:
        """Raise ``StreamError`` for a header that RFC 6455 forbids a server."""
        opcode = first & _OPCODE
        if first & _RESERVED or self._data[1] & _MASKED:
            raise StreamError("a frame of the WebSocket is not valid")
        if opcode & _CONTROL:
            is_valid = opcode in (_CLOSE, _PING, _PONG) and first & _FIN and length <= _MAX_CONTROL
        else:
            is_valid = opcode in ((_CONTINUATION,) if self._is_open else (_TEXT, _BINARY))
        if not is_valid:
            raise StreamError("a frame of the WebSocket is not valid")

    def _begin_skipping(
        self, start: int, length: int, messages: list[bytes], *, is_last: bool
    ) -> None:
        del self._data[:start]
        self._skipped = length
        self._is_too_long = True
        self._end_frame(messages, is_last=is_last)

    def _skip(self) -> bool:
        dropped = min(self._skipped, len(self._data))
        del self._data[:dropped]
        self._skipped -= dropped
        return not self._skipped

    def _end_frame(self, messages: list[bytes], *, is_last: bool) -> None:
        self._is_open = not is_last
        if self._is_too_long:
            self._message.clear()
        if is_last:
            messages.append(bytes(self._message))
            self._message.clear()
            self._is_too_long = False

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self._replies += _frame(_PONG, payload)
        elif opcode == _CLOSE:
            self._replies += _frame(_CLOSE, payload[:2])
            self.is_closed = True


def _frame(opcode: int, payload: bytes) -> bytes:
    """Return a short frame of a client, which must be masked (section 5.3)."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes((_FIN | opcode, _MASKED | len(payload))) + mask + masked
