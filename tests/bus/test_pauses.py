"""Reading pauses after signals, and for a shorter time while a call waits for its reply."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from koi_agent.bus.connection import FULL, MessageSocket, Timing, open_socket
from koi_agent.bus.messages import Header, MessageType, encode
from koi_agent.bus.signals import Changed, Signal, Subscription
from tests.bus.far_ends import Behaviour, answer, far_end, greet, next_serial, silence
from tests.unit.virtual_time import in_virtual_time, now

SENDER = ":1.0"


def signal() -> bytes:
    header = Header(kind=MessageType.SIGNAL, serial=1, path="/t", interface="t.T", member="Changed")
    header.sender = SENDER
    return encode(header, b"")


CALLS = 8
APART = 0.001
"""Seconds between two messages of the far end."""
MANY = 4 * FULL // len(signal())
TIMING = Timing(read_pause=0.1, short_pause=0.02)


class Reads(list[int]):
    """The number of signals in each read."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = asyncio.Event()

    def deliver(self, signals: Sequence[Signal | Changed]) -> None:
        self.append(len(signals))
        self._arrived.set()

    async def received(self, count: int) -> None:
        """Wait until this many signals have been read."""
        while sum(self) < count:
            self._arrived.clear()
            await self._arrived.wait()

    def subscribe(self, opened: MessageSocket) -> None:
        """Receive the signals of ``SENDER``."""
        members = frozenset({("t.T", "Changed")})
        wanted = Subscription(sender=SENDER, rules=(), members=members, deliver=self.deliver)
        opened.reader.set_owner(wanted, SENDER)


def call(opened: MessageSocket) -> tuple[int, bytes]:
    """Return the serial and the message of a call."""
    serial = opened.next_serial()
    header = Header(kind=MessageType.CALL, serial=serial, path="/t", interface="t.T", member="Ask")
    return serial, encode(header, b"")


async def answer_among_signals(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each call, one by one, with a signal before and after."""
    await greet(reader, writer)
    serials = [await next_serial(reader) for _ in range(CALLS)]
    for serial in serials:
        writer.write(signal())
        await asyncio.sleep(APART)
        writer.write(answer(serial, "s", ["yes"]) + signal())
    await silence(reader, writer)


async def send_signals(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send signals, one by one, and answer one call among them."""
    await greet(reader, writer)
    for _ in range(3):
        await asyncio.sleep(APART)
        writer.write(signal())
    writer.write(answer(await next_serial(reader), "s", ["yes"]))
    await silence(reader, writer)


async def call_a_method(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Call a method."""
    await greet(reader, writer)
    await asyncio.sleep(APART)
    header = Header(kind=MessageType.CALL, serial=7, path="/t", interface="t.T", member="Ask")
    writer.write(encode(header, b""))
    await silence(reader, writer)


async def fill_the_socket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send more at once than the socket holds, and one signal when it has been read."""
    await greet(reader, writer)
    await asyncio.sleep(APART)
    writer.write(signal() * MANY)
    await writer.drain()
    await asyncio.sleep(APART)
    writer.write(signal() * 2)
    await silence(reader, writer)


@asynccontextmanager
async def reading(folder: Path, behave: Behaviour) -> AsyncIterator[tuple[MessageSocket, Reads]]:
    """Connect to a far end, and receive the signals of ``SENDER``."""
    async with far_end(folder, behave) as address:
        opened, reads = await open_socket(address, lambda _call: None, TIMING), Reads()
        reads.subscribe(opened)
        try:
            yield opened, reads
        finally:
            opened.close()


@in_virtual_time
async def test_replies_among_signals_are_read_together(tmp_path: Path) -> None:
    async with reading(tmp_path, answer_among_signals) as (opened, reads):
        replies = await opened.ask_all(dict(call(opened) for _ in range(CALLS)), within=60)
        assert len(replies) == CALLS
        assert len(reads) == 2, reads


@in_virtual_time
async def test_call_shortens_a_pause(tmp_path: Path) -> None:
    async with reading(tmp_path, send_signals) as (opened, reads):
        await asyncio.sleep(2 * APART)
        began = now()
        serial, message = call(opened)
        await opened.ask(message, serial, within=60)
        assert now() - began <= TIMING.short_pause + APART
        assert reads == [3]


@in_virtual_time
async def test_full_socket_is_read_again_soon(tmp_path: Path) -> None:
    async with reading(tmp_path, fill_the_socket) as (_, reads):
        await reads.received(1)
        began = now()
        await reads.received(MANY + 2)
        assert now() - began < TIMING.read_pause


@in_virtual_time
async def test_first_signal_waits_for_the_others(tmp_path: Path) -> None:
    async with reading(tmp_path, send_signals) as (_, reads):
        began = now()
        await reads.received(1)
        assert now() - began >= TIMING.read_pause
        assert reads == [3]


@in_virtual_time
async def test_call_of_a_client_is_read_at_once(tmp_path: Path) -> None:
    calls: list[float] = []
    async with far_end(tmp_path, call_a_method) as address:
        opened = await open_socket(address, lambda _call: calls.append(now()), TIMING)
        began = now()
        try:
            await asyncio.sleep(TIMING.read_pause)
        finally:
            opened.close()
    assert [called - began <= 2 * APART for called in calls] == [True]
