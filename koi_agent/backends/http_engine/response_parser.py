"""Parses one HTTP/1.1 response as its bytes arrive (RFC 9112, sections 6 and 7), without I/O."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from koi_agent.core.json_stream import StreamError

MAX_HEAD: Final = 64 * 1024
"""Bytes of the status line and the fields, and of the trailer of a chunked body."""
_MAX_SIZE_LINE: Final = 1024
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: |$)")
_EMPTY: Final = (204, 304)
"""Responses without a body, whatever their head says (RFC 9112 section 6.3)."""
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")

_Step = Callable[["ResponseParser"], bool]


class ResponseParser:
    """Parses a response whose body has at most ``limit`` bytes.

    ``is_complete`` is set at its end. ``is_last`` is True if the connection carries no other one.
    ``body`` has the bytes that have arrived and that ``take`` did not remove.
    """

    def __init__(self, limit: int) -> None:
        self.status = 0
        self.body = bytearray()
        self.is_complete = False
        self.is_last = False
        self._limit = limit
        self._data = bytearray()
        self._received = 0
        self._missing = 0
        self._ends_with_connection = False
        # A bound method would refer to the parser, which only the garbage collector could free.
        self._step: _Step = ResponseParser._read_head

    def feed(self, data: bytes | memoryview) -> None:
        """Parse more bytes; raise ``StreamError`` for what is not HTTP, or too long."""
        self._data += data
        while not self.is_complete and self._step(self):
            pass
        if self.is_complete and self._data:
            self.is_last = True
            raise StreamError("there are bytes after the response")

    def take(self) -> bytes:
        """Remove and return the bytes of the body that have arrived."""
        piece = bytes(self.body)
        self.body.clear()
        return piece

    def end(self) -> None:
        """End with the connection; raise ``StreamError`` if the response is not complete then."""
        if not self._ends_with_connection:
            raise StreamError("the connection ended within the response")
        self.is_complete = True

    # Each step returns True if it has done its part, and False if more bytes must arrive first.

    def _read_head(self) -> bool:
        end = self._find(b"\r\n\r\n", MAX_HEAD)
        if end < 0:
            return False
        first, *lines = bytes(self._data[:end]).split(b"\r\n")
        del self._data[: end + 4]
        found = _STATUS_LINE.match(first)
        if not found:
            raise StreamError("the response is not HTTP")
        self.status = int(found[2])
        if self.status >= 200:  # others, such as 102, precede the response
            self._choose_body(_fields(lines), is_old=found[1] == b"0")
        return True

    def _choose_body(self, fields: Mapping[bytes, bytes], *, is_old: bool) -> None:
        """Choose how the end of the body is known."""
        connection = fields.get(b"connection", b"").lower()
        self.is_last = b"close" in connection or (is_old and b"keep-alive" not in connection)
        length = fields.get(b"content-length")
        if self.status in _EMPTY:
            self._expect(0)
            self._step = ResponseParser._read_sized
        elif coding := fields.get(b"transfer-encoding"):
            if coding.lower() != b"chunked" or length is not None:
                raise StreamError("the response has an unknown transfer coding")
            self._step = ResponseParser._read_chunk_size
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise StreamError("the response has no valid length")
            self._expect(int(length))
            self._step = ResponseParser._read_sized
        else:
            self.is_last = self._ends_with_connection = True
            self._step = ResponseParser._read_to_end

    def _expect(self, size: int) -> None:
        """Expect this many more bytes of the body."""
        if self._received + size > self._limit:
            raise StreamError(f"the response is longer than {self._limit} bytes")
        self._missing = size

    def _read_missing(self) -> bool:
        """Move bytes to the body; return True if none of those expected is missing."""
        piece = self._data[: self._missing]
        del self._data[: self._missing]
        self.body += piece
        self._received += len(piece)
        self._missing -= len(piece)
        return not self._missing

    def _read_sized(self) -> bool:
        self.is_complete = self._read_missing()
        return self.is_complete

    def _read_to_end(self) -> bool:
        self._expect(len(self._data))
        self._read_missing()
        return False

    def _read_chunk_size(self) -> bool:
        if not self._data:
            return False
        end = self._find(b"\r\n", _MAX_SIZE_LINE)
        if end < 0:
            return False
        found = _CHUNK_SIZE.fullmatch(self._data[:end])
        if not found:
            raise StreamError("the response has a chunk without a size")
        self._expect(int(found[1], 16))
        del self._data[: end + 2]
        self._step = ResponseParser._read_chunk if self._missing else ResponseParser._read_trailer
        return True

    def _read_chunk(self) -> bool:
        if not self._read_missing() or len(self._data) < 2:
            return False
        if self._data[:2] != b"\r\n":
            raise StreamError("the response has a chunk of another size")
        del self._data[:2]
        self._step = ResponseParser._read_chunk_size
        return True

    def _read_trailer(self) -> bool:
        """Skip lines up to an empty one."""
        end = self._find(b"\r\n", MAX_HEAD)
        if end >= 0:
            del self._data[: end + 2]
        self.is_complete = end == 0
        return end >= 0

    def _find(self, mark: bytes, limit: int) -> int:
        """Return the place of a mark, -1 without one; raise ``StreamError`` beyond a limit."""
        at = self._data.find(mark, 0, limit)
        if at < 0 and len(self._data) >= limit:
            raise StreamError("the response is not HTTP")
        return at


def _fields(lines: list[bytes]) -> Mapping[bytes, bytes]:
    pairs = (line.partition(b":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in pairs}
