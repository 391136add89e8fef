"""Streams of JSON, cut into lines and array elements with bounded memory.

Both classes take bytes as they arrive and do no I/O. The backends of HTTP engines and the gate
read with them.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Final

_DECODER: Final = json.JSONDecoder()
_AFTER_ELEMENT: Final = (",", "]", " ", "\t", "\r", "\n")
_SEPARATORS: Final = re.compile(r"[\s,]*")
_COLON: Final = re.compile(r"\s*:\s*")
_LONGEST_HEAD: Final = 2**16
"""Characters before the array that is a member of an object."""


class StreamError(ValueError):
    """A stream is not the expected JSON, or exceeds a bound."""


class LineSplitter:
    """Cuts a stream into lines of at most ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._too_long = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that ``piece`` completes, without their newlines.

        A line that is longer than the limit becomes an empty one, so that the caller detects the
        loss. At most ``limit`` bytes of it are held in memory.
        """
        first, *more = piece.split(b"\n")
        if not self._too_long:
            self._rest += first
            self._too_long = len(self._rest) > self._limit
        if not more:
            if self._too_long:
                self._rest = b""
            return []
        lines = [b"" if self._too_long else self._rest]
        lines += (line if len(line) <= self._limit else b"" for line in more[:-1])
        self._rest, self._too_long = more[-1], False
        return lines

    def close(self) -> None:
        """Raise ``StreamError`` if the stream ended within a line."""
        if self._too_long or self._rest.strip():
            raise StreamError("the stream ended within a line")


class ArrayDecoder:
    """Decodes a JSON array element by element; one element has at most ``limit`` characters.

    ``null`` is an empty array: Go encodes a nil slice so. Bytes that are not UTF-8 are replaced,
    so that they cost only the text in which they stand. With a ``member``, the array is the value
    of this member of an object, and is not ``null``.
    """

    def __init__(self, limit: int, member: str = "") -> None:
        self._limit = limit
        self._member = member
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._has_begun = False
        self._retry_length = 0

    def feed(self, piece: bytes) -> Iterator[object]:
        """Yield the elements that ``piece`` completes; raise ``StreamError`` beyond the limit.

        The iterator must be exhausted before the next call.
        """
        self._rest += self._utf8.decode(piece)
        if not self._has_begun:
            self._begin()
        # An incomplete element is tried again only when twice as much of it is there:
        # trying after each piece would cost quadratic time.
        if self._has_begun and len(self._rest) >= self._retry_length:
            yield from self._complete_elements()
        if len(self._rest) > self._limit:
            raise StreamError(f"an element is longer than {self._limit} characters")

    def close(self) -> Iterator[object]:
        """Yield the last elements; raise ``StreamError`` unless the array has ended."""
        self._rest += self._utf8.decode(b"", final=True)
        if self._has_begun:
            yield from self._complete_elements()
        if not self._has_ended(self._rest.strip(" \t\r\n,")):
            raise StreamError(self._mismatch)

    def _has_ended(self, end: str) -> bool:
        if not self._has_begun:
            return end == "null" and not self._member
        if self._member:
            return end[:1] == "]" and _ends_object(end[1:])
        return end == "]"

    @property
    def _mismatch(self) -> str:
        expected = f"object with an array {self._member}" if self._member else "array"
        return f"not a JSON {expected}"

    def _begin(self) -> None:
        self._rest = self._rest.lstrip()
        start = _start_of(self._member, self._rest) if self._member else 0
        if start >= 0 and self._rest[start : start + 1] == "[":
            self._has_begun = True
            self._rest = self._rest[start + 1 :]
        elif not self._may_begin(start):
            raise StreamError(self._mismatch)

    def _may_begin(self, start: int) -> bool:
        """Return True if the array may start in a later piece."""
        if self._member:
            return start < 0 and self._rest[:1] in ("", "{") and len(self._rest) <= _LONGEST_HEAD
        return self._rest[:1] in ("", "n")

    def _complete_elements(self) -> Iterator[object]:
        position = _skip_separators(self._rest, 0)
        while position < len(self._rest) and self._rest[position] != "]":
            try:
                element, end = _DECODER.raw_decode(self._rest, position)
            except (ValueError, RecursionError):
                break  # incomplete, or not JSON: then the rest exceeds the limit or close() raises
            if self._rest[end : end + 1] not in _AFTER_ELEMENT:
                break  # a number may go on in the next piece
            yield element
            position = _skip_separators(self._rest, end)
        self._rest = self._rest[position:]
        self._retry_length = 2 * len(self._rest)


def _start_of(member: str, text: str) -> int:
    """Return where the value of a member of an object starts, or -1 if it is not there yet."""
    position = 1  # behind the bracket
    while True:
        try:
            key, end = _DECODER.raw_decode(text, _skip_separators(text, position))
            colon = _COLON.match(text, end)
            if not colon or colon.end() == len(text):
                return -1
            if key == member:
                return colon.end()
            _, position = _DECODER.raw_decode(text, colon.end())
        except (ValueError, RecursionError):
            return -1  # incomplete, or not JSON: then it becomes too long, or close() raises


def _ends_object(text: str) -> bool:
    """Return True if an object that began before a text ends with it."""
    try:
        json.loads(f'{{"":0{text}')
    except (ValueError, RecursionError):
        return False
    return True


def _skip_separators(text: str, position: int) -> int:
    found = _SEPARATORS.match(text, position)
    return found.end() if found else position
