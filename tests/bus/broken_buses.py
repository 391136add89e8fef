"""Buses that are broken: while a client connects, and when it calls. For both kinds of clients."""

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Final

from koi_agent.bus.errors import BusLost, CallError
from koi_agent.bus.messages import Header, MessageType, encode
from tests.bus.far_ends import Behaviour, answer, authenticate, greet, next_serial, silence
from tests.bus.wire import frame


async def close_at_once(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    return


async def close_after_half_a_line(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.readuntil(b"\r\n")
    writer.write(b"OK 01234")


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n")
    writer.write(b"REJECTED EXTERNAL\r\n")
    await silence(reader, writer)


async def answer_error(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n")
    writer.write(b"ERROR not now\r\n")
    await silence(reader, writer)


async def send_no_line_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"la " * 1000)
        await writer.drain()
        await asyncio.sleep(0)


async def ignore_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await authenticate(reader, writer)
    await silence(reader, writer)


async def refuse_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await authenticate(reader, writer)
    header = Header(
        kind=MessageType.ERROR,
        serial=1,
        reply_serial=await next_serial(reader),
        error_name="t.Full",
    )
    writer.write(encode(header))
    await silence(reader, writer)


async def answer_hello_with_a_number(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await authenticate(reader, writer)
    writer.write(answer(await next_serial(reader), "u", [7]))
    await silence(reader, writer)


async def talk_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await authenticate(reader, writer)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await silence(reader, writer)


async def claim_200_megabytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await authenticate(reader, writer)
    writer.write(b"l\2\0\1" + (200 * 2**20).to_bytes(4, "little") + bytes(8))
    await silence(reader, writer)


OPENING: Final = (
    (close_at_once, "closed|reset|Broken"),
    (close_after_half_a_line, "closed the connection during auth"),
    (refuse, "REJECTED"),
    (answer_error, "not now"),
    (send_no_line_end, "auth.*more than"),
    (silence, "does not answer"),
    (ignore_hello, "does not answer"),
    (refuse_hello, "t.Full"),
    (answer_hello_with_a_number, "values of type 'u'"),
    (talk_http, "not a D-Bus message"),
    (claim_200_megabytes, "message of 2097"),
)
"""Buses that cannot be connected to, and what the error says."""


def replying(*parts: Callable[[int], bytes], close: bool = False) -> Behaviour:
    """Return a bus that sends these bytes for the serial of the first call, each at once."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        serial = await next_serial(reader)
        for part in parts:
            writer.write(part(serial))
            await writer.drain()
            await asyncio.sleep(0.01)
        if not close:
            await silence(reader, writer)

    return behave


def reply(serial: int, signature: str, body: bytes) -> bytes:
    """Return a reply whose body need not be of its signature."""
    header = Header(kind=MessageType.RETURN, serial=9, reply_serial=serial, signature=signature)
    return encode(header, body)


def good(serial: int) -> bytes:
    return answer(serial, "s", ["good"])


def signal(_serial: int) -> bytes:
    fields = {1: ("o", "/t"), 2: ("s", "t.T"), 3: ("s", "S")}
    return frame(4, fields, "s", ["x" * 100])


def call(_serial: int) -> bytes:
    return frame(1, {1: ("o", "/t"), 2: ("s", "t.T"), 3: ("s", "M")}, "s", ["x"])


def unreadable_header(serial: int) -> bytes:
    return frame(2, {5: ("u", serial)}).replace(b"\5\1u\0", b"\5\1(\0")


def of_kind(kind: int) -> Callable[[int], bytes]:
    return lambda serial: frame(kind, {5: ("u", serial)}, "s", ["other"])


def error(signature: str, body: Sequence[object]) -> Callable[[int], bytes]:
    return lambda serial: frame(3, {4: ("s", "t.Refused"), 5: ("u", serial)}, signature, body)


def byte(make: Callable[[int], bytes], at: int) -> Callable[[int], bytes]:
    return lambda serial: make(serial)[at : at + 1]


def bytes_of(make: Callable[[int], bytes]) -> Sequence[Callable[[int], bytes]]:
    """Return the parts of a message that comes byte by byte."""
    return [byte(make, at) for at in range(len(make(1)))]


ANSWERING: Final = {
    "a reply": replying(good),
    "byte by byte": replying(*bytes_of(good)),
    "replies to other calls": replying(
        lambda serial: answer(serial + 1, "s", ["bad"]), lambda _: answer(0, "s", ["bad"]), good
    ),
    "signals and calls": replying(signal, call, signal, good),
    "all in one": replying(lambda serial: signal(serial) * 50 + good(serial) + signal(serial)),
    "no kind of reply": replying(of_kind(0), of_kind(1), of_kind(4), of_kind(77), good),
    "a header that is not readable": replying(unreadable_header, good),
    "half a signal, then the rest": replying(
        lambda serial: signal(serial)[:30], lambda serial: signal(serial)[30:] + good(serial)
    ),
}
"""Buses that answer a call with "good", after other things."""

FAILING: Final = {
    "closes": (replying(close=True), BusLost, "closed the connection"),
    "closes in a header": (
        replying(lambda serial: good(serial)[:9], close=True),
        BusLost,
        "closed the connection",
    ),
    "closes in a body": (
        replying(lambda serial: good(serial)[:-3], close=True),
        BusLost,
        "closed the connection",
    ),
    "zeros": (replying(lambda _: bytes(64)), BusLost, "not a D-Bus message"),
    "another version": (replying(lambda _: b"l\2\0\2" + bytes(60)), BusLost, "not a D-Bus message"),
    "a huge body": (
        replying(lambda _: b"l\2\0\1" + struct.pack("<III", 2**31, 1, 8)),
        BusLost,
        "message of 2147",
    ),
    "huge fields": (
        replying(lambda _: b"l\2\0\1" + struct.pack("<III", 8, 1, 2**31)),
        BusLost,
        "message of 2147",
    ),
    "invalid UTF-8": (
        replying(lambda serial: reply(serial, "s", struct.pack("<I", 1) + b"\xff\0")),
        CallError,
        "InconsistentMessage.*utf-8",
    ),
    "a text past the end": (
        replying(lambda serial: reply(serial, "s", struct.pack("<I", 2**32 - 1) + b"a\0")),
        CallError,
        "InconsistentMessage",
    ),
    "a huge array": (
        replying(lambda serial: reply(serial, "ay", struct.pack("<I", 2**31) + b"a")),
        CallError,
        "an array of 2147",
    ),
    "bytes after the values": (
        replying(lambda serial: reply(serial, "y", b"ab")),
        CallError,
        "left over",
    ),
    "variants in each other": (
        replying(lambda serial: reply(serial, "v", b"\1v\0" * 5000 + b"\1y\0\7")),
        CallError,
        "64 containers",
    ),
    "a signature in a variant": (
        replying(lambda serial: reply(serial, "v", b"\4a{vs\0" + bytes(8))),
        CallError,
        "InconsistentMessage",
    ),
    "an error": (replying(error("s", ["not now"])), CallError, "^t.Refused: not now$"),
    "an error without a text": (replying(error("", [])), CallError, "^t.Refused: $"),
    "an error with a number": (replying(error("u", [7])), CallError, "^t.Refused: $"),
    "an error with controls": (
        replying(error("s", ["\x1b[31m\n"])),
        CallError,
        r"^t.Refused: \\x1b\[31m\\x0a$",
    ),
    "silence": (replying(), TimeoutError, ".*"),
    "half a reply": (replying(lambda serial: good(serial)[:-3]), TimeoutError, ".*"),
    "only signals": (replying(*[signal] * 20), TimeoutError, ".*"),
}
"""Buses that fail a call, the error, and what it says."""
