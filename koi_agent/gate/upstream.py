"""The engine behind the gate: asked once a connection, in HTTP/1.0, so that answers end with it."""

import asyncio
import codecs
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from koi_agent.core.json_arrays import element, skip_separators
from koi_agent.gate.requests import LONGEST_HEAD, Question

PATIENCE: Final = 60.0
"""Seconds until an engine has begun to answer: with thousands of containers a list takes some."""
STILL: Final = 15.0
"""Seconds an engine may pause within an answer, but for events."""
MOST: Final = 16 * 2**20
"""Bytes of an answer about one thing, of one element of a list, and of an event."""
PIECE: Final = 256 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r)")


class NoAnswer(Exception):
    """The engine is not there, or says what is none; the text is our own.

    ``status`` is what HTTP calls it: 502 where there is no engine.
    """

    def __init__(self, text: str, status: HTTPStatus = HTTPStatus.GATEWAY_TIMEOUT) -> None:
        super().__init__(text)
        self.status = status


class Upstream:
    """The engine on the socket at ``path``."""

    def __init__(self, path: str) -> None:
        self.path = path

    @asynccontextmanager
    async def asked(self, question: Question) -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
        """Ask; yields the status of the answer, and its body to be read. Raises ``NoAnswer``."""
        reader, writer = await self._connected()
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write(question.head)
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
            yield _status(head), reader
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise NoAnswer(f"{self.path}: the answer broke off") from error
        except TimeoutError as error:
            raise NoAnswer(f"{self.path}: no answer in time") from error
        except OSError as error:
            raise NoAnswer(f"{self.path}: the answer broke off") from error
        finally:
            writer.transport.abort()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_unix_connection(self.path, limit=MOST)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            reason = os.strerror(error.errno or 0)
            raise NoAnswer(f"{self.path}: {reason}", HTTPStatus.BAD_GATEWAY) from error
        except OSError as error:
            raise NoAnswer(f"{self.path}: {os.strerror(error.errno or 0)}") from error


def _status(head: bytes) -> int:
    found = _STATUS.match(head)
    if not found or len(head) > LONGEST_HEAD:
        raise NoAnswer("the engine's answer is no HTTP")
    return int(found[1])


async def whole(body: asyncio.StreamReader) -> bytes:
    """Read an answer to its end; raises ``NoAnswer``."""
    data = bytearray()
    while piece := await _piece(body):
        data += piece
        if len(data) > MOST:
            raise NoAnswer(f"the answer has more than {MOST} bytes")
    return bytes(data)


async def _piece(body: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(STILL):
        return await body.read(PIECE)


async def elements(body: asyncio.StreamReader) -> AsyncGenerator[object, None]:
    """Read a JSON array element by element, never more of it than that; raises ``NoAnswer``.

    ``null`` has none: so Go writes an empty one.
    """
    text = codecs.getincrementaldecoder("utf-8")("replace")
    rest, begun = "", False
    while piece := await _piece(body):
        rest += text.decode(piece)
        if not begun:
            rest = rest.lstrip()
            begun = rest[:1] == "["
            rest = rest[1:] if begun else rest
        if begun:
            found, at = _complete(rest)
            rest = rest[at:]
            for record in found:
                yield record
        if len(rest) > MOST:
            raise NoAnswer(f"an element has more than {MOST} characters")
    if (rest.strip(" \t\r\n,") or "") != ("]" if begun else "null"):
        raise NoAnswer("the engine's answer is no list")


def _complete(text: str) -> tuple[list[object], int]:
    """Take the elements that are there whole; returns them, and where the rest begins."""
    found: list[object] = []
    at = skip_separators(text, 0)
    while at < len(text) and text[at] != "]":
        try:
            record, end = element(text, at)
        except (ValueError, RecursionError):
            break  # the rest of it is to come, or it is none, which shows in the end
        if end == len(text):
            break  # a number may go on
        found.append(record)
        at = skip_separators(text, end)
    return found, at


async def lines(body: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    """Read an answer line by line, for as long as it goes on; raises ``NoAnswer``.

    A line that is too long comes as an empty one: something happened, and nobody says what.
    """
    while True:
        try:
            line = await body.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            if error.partial.strip():
                raise NoAnswer("the events broke off") from error
            return
        except asyncio.LimitOverrunError:
            await _pass_over(body)
            line = b"\n"
        yield line


async def _pass_over(body: asyncio.StreamReader) -> None:
    """Read to the end of a line, and keep nothing of it."""
    while True:
        try:
            await body.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await body.readexactly(max(error.consumed, 1))
        else:
            return
