"""Who the agent talks with instead of an engine: a question, an answer, and nothing in between."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Final, Never

from koi_agent.core.errors import ungrouped
from koi_agent.gate import answers
from koi_agent.gate.requests import LONGEST_HEAD, Forbidden, Kind, Question, question
from koi_agent.gate.upstream import PIECE, NoAnswer, Upstream, elements, lines, whole

log = logging.getLogger(__name__)

HEAD_PATIENCE: Final = 5.0
"""Seconds from the first byte of a head to its last."""
IDLE: Final = 60.0
"""Seconds a connection may be kept without a question."""
SLOW: Final = 30.0
"""Seconds a reader may take for a piece of an answer."""
LONGEST_ANSWER: Final = 120.0
"""Seconds from a question to the end of its answer, but for events."""
MOST_CONNECTIONS: Final = 48
"""The agent asks sixteen at a time, and listens."""
MOST_WHOLE: Final = 4
"""Answers that are held whole at one time: each is some megabytes at the most."""
REST: Final = 1.0
"""Seconds until the kernel is asked for a connection again, after it could not give one."""
PASSED_ON: Final = frozenset({400, 404, 409, 500, 503})


class Server:
    """Serves connections; ``upstream`` is the engine."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._slots = asyncio.Semaphore(MOST_CONNECTIONS)
        self._whole = asyncio.Semaphore(MOST_WHOLE)

    async def run(self, listener: socket.socket) -> Never:
        """Accept until cancelled; who is one too many waits with the kernel."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                door = await _accepted(listener)
                task = group.create_task(self._serve(door), name="connection")
                task.add_done_callback(lambda _: self._slots.release())
        raise AssertionError("serving has no end")

    async def _serve(self, door: socket.socket) -> None:
        """Serve one connection; whatever happens on it costs no other."""
        try:
            reader, writer = await asyncio.open_unix_connection(sock=door, limit=LONGEST_HEAD)
            await self._served(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # it went, or was too slow (a TimeoutError): nobody waits for an answer
        except Exception:
            log.exception("a connection ends, for this is a bug")

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answered(reader, writer):
                pass
            writer.close()
            async with asyncio.timeout(SLOW):
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; tells whether there may be another on this connection."""
        answer = Answer(writer)
        try:
            asked = question(await _head(reader))
        except asyncio.LimitOverrunError:
            await answer.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too long a head")
            return False
        except Forbidden as forbidden:
            log.warning("refused: %s", forbidden)
            await answer.refuse(HTTPStatus.FORBIDDEN, str(forbidden))
            return False
        try:
            await self._ask(asked, answer, reader)
        except NoAnswer as none:
            if answer.begun:  # what is cut off can't be taken for whole
                return False
            await answer.refuse(none.status, str(none))
        return asked.keeps and not answer.last

    async def _ask(self, asked: Question, answer: "Answer", reader: asyncio.StreamReader) -> None:
        if asked.kind is Kind.PING:
            await answer.say(answers.handed_on(asked.kind, b""))
            return
        async with self._upstream.asked(asked) as (status, body):
            if status != HTTPStatus.OK:
                known = status if status in PASSED_ON else HTTPStatus.GATEWAY_TIMEOUT
                await answer.refuse(known, f"the engine answers with HTTP status {status}")
            elif asked.kind is Kind.EVENTS:
                await _follow(body, answer, reader)
            else:
                async with asyncio.timeout(LONGEST_ANSWER):
                    await self._hand_on(asked.kind, body, answer)

    async def _hand_on(self, kind: Kind, body: asyncio.StreamReader, answer: "Answer") -> None:
        if kind is Kind.LIST:
            async with aclosing(elements(body)) as records:
                await answer.list(records)
            return
        async with self._whole:
            try:
                said = answers.handed_on(kind, await whole(body))
            except (ValueError, RecursionError) as error:
                raise NoAnswer("the engine's answer can't be read") from error
        await answer.say(said)


async def _accepted(listener: socket.socket) -> socket.socket:
    while True:
        try:
            door, _ = await asyncio.get_running_loop().sock_accept(listener)
        except OSError as error:
            log.warning("can't accept a connection: %s; trying again", error)
            await asyncio.sleep(REST)
        else:
            return door


async def _follow(
    body: asyncio.StreamReader, answer: "Answer", reader: asyncio.StreamReader
) -> None:
    """Hand on events until the engine ends them, or whoever listens goes."""
    with ungrouped(OSError, NoAnswer, asyncio.IncompleteReadError):
        async with asyncio.TaskGroup() as group, aclosing(lines(body)) as said:
            leaving = group.create_task(_gone(reader), name="whether it goes")
            await answer.follow(said)
            leaving.cancel()


async def _gone(reader: asyncio.StreamReader) -> Never:
    """Wait until whoever listens goes: while nothing happens, nothing else tells."""
    await reader.read(1)
    raise ConnectionAbortedError


async def _head(reader: asyncio.StreamReader) -> bytes:
    """Read a head: it may be long in coming, but not be a long time on its way."""
    async with asyncio.timeout(IDLE):
        first = await reader.readexactly(1)
    async with asyncio.timeout(HEAD_PATIENCE):
        return first + await reader.readuntil(b"\r\n\r\n")


class Answer:
    """One answer as it is written."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.begun = False
        self.last = False
        self._writer = writer

    async def refuse(self, status: int, reason: str) -> None:
        """Say no, as engines do; but for what is not there, nothing else is answered then."""
        self.last = status != HTTPStatus.NOT_FOUND
        body = json.dumps({"message": f"koi-runtime-gate: {reason}"}).encode()
        close = "Connection: close\r\n" if self.last else ""
        self._head(status, f"Content-Length: {len(body)}\r\n{close}")
        await self._write(body)

    async def say(self, body: bytes) -> None:
        """Write an answer that is known whole."""
        self._head(HTTPStatus.OK, f"Content-Length: {len(body)}\r\n")
        await self._write(body)

    async def list(self, records: AsyncIterator[object]) -> None:
        """Write a list element by element, some of them at a time."""
        text, between = bytearray(b"["), b""
        async for record in records:
            text += between + answers.listed(record)
            between = b","
            if len(text) > PIECE:
                await self._chunk(bytes(text))
                text.clear()
                await asyncio.sleep(0)
        await self._chunk(bytes(text) + b"]")
        await self._end()

    async def follow(self, said: AsyncIterator[bytes]) -> None:
        """Write events as they come, the head at once."""
        self._begin()
        async for line in said:
            if event := answers.event(line):
                await self._chunk(event)
        await self._end()

    def _begin(self) -> None:
        if not self.begun:
            self._head(HTTPStatus.OK, "Transfer-Encoding: chunked\r\n")

    def _head(self, status: int, fields: str) -> None:
        self.begun = True
        reason = HTTPStatus(status).phrase
        head = f"HTTP/1.1 {int(status)} {reason}\r\nContent-Type: application/json\r\n{fields}\r\n"
        self._writer.write(head.encode())

    async def _chunk(self, piece: bytes) -> None:
        self._begin()
        await self._write(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def _end(self) -> None:
        self._begin()
        await self._write(b"0\r\n\r\n")

    async def _write(self, data: bytes) -> None:
        """Write; who does not read for long is left (``TimeoutError``)."""
        self._writer.write(data)
        async with asyncio.timeout(SLOW):
            await self._writer.drain()
