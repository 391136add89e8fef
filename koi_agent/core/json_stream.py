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


class StreamError(ValueError):
    """A stream is not the JSON that it should be, or exceeds a bound."""


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
    so that they cost only the text in which they stand.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
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
        end = self._rest.strip(" \t\r\n,")
        if end != ("]" if self._has_begun else "null"):
            raise StreamError("not a JSON array")

    def _begin(self) -> None:
        self._rest = self._rest.lstrip()
        if self._rest[:1] == "[":
            self._has_begun = True
            self._rest = self._rest[1:]
        elif self._rest[:1] not in ("", "n"):
            raise StreamError("not a JSON array")

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


def _skip_separators(text: str, position: int) -> int:
    found = _SEPARATORS.match(text, position)
    return found.end() if found else position
