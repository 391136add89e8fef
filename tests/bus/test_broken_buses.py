"""Calls of both kinds of clients to buses that are broken."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koi_agent.bus import blocking, client
from koi_agent.bus.calls import BUS, BUS_PATH
from koi_agent.bus.errors import BusLost
from tests.bus.broken_buses import ANSWERING, FAILING, OPENING, replying
from tests.bus.far_ends import Behaviour, answer, far_end, next_serial, silence
from tests.bus.wire import frame
from tests.costs import used
from tests.world.bus import PrivateBus

DRIVER = (BUS, BUS_PATH, BUS)
PATIENT, HASTY = 30.0, 0.5
"""Seconds in which a reply comes on the slowest machine, and after which none is awaited."""


def call_blocking(address: str, within: float) -> list[Any]:
    with blocking.connected(address) as link:
        return link.call(DRIVER, "ListNames", within=within)


async def ask_blocking(address: str, within: float) -> list[Any]:
    return await asyncio.to_thread(call_blocking, address, within)


async def ask(address: str, within: float) -> list[Any]:
    async with client.connected(address) as link:
        return await link.call(DRIVER, "ListNames", within=within)


both = pytest.mark.parametrize("ask", [ask, ask_blocking])
Ask = Callable[[str, float], Any]


@both
@pytest.mark.parametrize("behave", ANSWERING.values(), ids=ANSWERING)
async def test_reply_is_found(ask: Ask, behave: Behaviour, tmp_path: Path) -> None:
    async with far_end(tmp_path, behave) as where:
        assert await ask(where, PATIENT) == ["good"]


@both
@pytest.mark.parametrize(("behave", "kind", "text"), FAILING.values(), ids=FAILING)
async def test_failed_call_has_an_error_in_bounded_time(
    ask: Ask, behave: Behaviour, kind: type[Exception], text: str, tmp_path: Path
) -> None:
    async with far_end(tmp_path, behave) as where, asyncio.timeout(60):
        with pytest.raises(kind, match=text) as raised:
            await ask(where, HASTY if kind is TimeoutError else PATIENT)
    assert type(raised.value) is kind


@pytest.mark.parametrize(("behave", "reason"), OPENING)
async def test_bus_that_cannot_be_connected_to_is_lost_in_bounded_time(
    behave: Behaviour, reason: str, tmp_path: Path
) -> None:
    def connect(where: str) -> None:
        with blocking.connected(where, within=HASTY) as link:
            link.call(DRIVER, "ListNames", within=PATIENT)

    async with far_end(tmp_path, behave) as where, asyncio.timeout(60):
        with used() as use, pytest.raises(BusLost, match=reason):
            await asyncio.to_thread(connect, where)
    assert use.elapsed < HASTY or use.share < 0.5, "busy while waiting"


@pytest.mark.parametrize(
    "where", [";", "tcp:host=localhost,port=1", "unix:tmpdir=/tmp", "unix:path=/does/not/exist"]
)
def test_address_that_leads_nowhere_is_bus_lost(where: str) -> None:
    with pytest.raises(BusLost), blocking.connected(where):
        pass


def test_first_address_that_can_be_used_is_used(bus: PrivateBus) -> None:
    nowhere = "unix:path=/does/not/exist"
    with blocking.connected(f"tcp:host=localhost,port=1;{nowhere};{bus.address}") as link:
        (names,) = link.call(DRIVER, "ListNames")
        assert BUS in names


@both
async def test_address_with_the_guid_of_another_server_is_refused(
    ask: Ask, bus: PrivateBus
) -> None:
    address = bus.address.partition(",")[0]
    with pytest.raises(BusLost, match="its address says"):
        await ask(f"{address},guid={'f' * 32}", PATIENT)


def test_late_reply_is_dropped(bus: PrivateBus) -> None:
    with blocking.connected(bus.address) as link:
        link.call(DRIVER, "GetId")
        bus.stop()
        with pytest.raises(TimeoutError):
            link.call(DRIVER, "ListNames", within=0.05)
        bus.cont()
        assert link.call(DRIVER, "GetNameOwner", "s", (BUS,)) == [BUS]


def test_reply_of_megabytes_is_read_whole(tmp_path: Path) -> None:
    text = "x" * 10_000_000

    async def ask_far_end() -> list[Any]:
        large = replying(lambda serial: frame(2, {5: ("u", serial)}, "s", [text]))
        async with far_end(tmp_path, large) as where:
            return await ask_blocking(where, PATIENT)

    assert asyncio.run(ask_far_end()) == [text]


async def test_bus_gets_all_up_to_the_first_call_before_it_answers(tmp_path: Path) -> None:
    """A busy bus takes long for each answer."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = b""
        while b"ListNames" not in received:
            received += await reader.read(4096)
        _, begin, messages = received.partition(b"BEGIN\r\n")
        assert begin
        again = asyncio.StreamReader()
        again.feed_data(messages)
        writer.write(b"OK " + b"0" * 32 + b"\r\n")
        writer.write(answer(await next_serial(again), "s", [":1.1"]))
        writer.write(answer(await next_serial(again), "s", ["good"]))
        await silence(reader, writer)

    async with far_end(tmp_path, behave) as where:
        assert await ask_blocking(where, PATIENT) == ["good"]


async def test_connection_that_failed_stays_lost(tmp_path: Path) -> None:
    def call_twice(where: str) -> list[str]:
        errors: list[str] = []
        with blocking.connected(where) as link:
            for _ in range(2):
                with pytest.raises(BusLost) as raised:
                    link.call(DRIVER, "ListNames", within=PATIENT)
                errors.append(str(raised.value))
        return errors

    async with far_end(tmp_path, replying(lambda _: bytes(64))) as where:
        first, second = await asyncio.to_thread(call_twice, where)
    assert first == second


def test_bus_that_does_not_read_a_call_is_lost() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        link = blocking.BlockingConnection(ours, "", blocking.Deadline.after(HASTY))
        for _ in range(2):
            # A part of the call is sent, so that no other call can follow.
            with pytest.raises(BusLost, match="does not answer"):
                link.call(DRIVER, "GetNameOwner", "s", ("x" * 10_000_000,), within=PATIENT)


@pytest.mark.parametrize("accepts", [True, False])
def test_full_queue_of_a_bus_is_waited_for(tmp_path: Path, *, accepts: bool) -> None:
    path = tmp_path / "bus"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(str(path))
        listening.listen(0)
        first.connect(str(path))
        errors: list[str] = []

        def connect() -> None:
            try:
                within = PATIENT if accepts else HASTY
                with blocking.connected(f"unix:path={path}", within=within) as link:
                    link.call(DRIVER, "GetId")
            except BusLost as lost:
                errors.append(str(lost))

        client = threading.Thread(target=connect)
        client.start()
        if accepts:
            listening.accept()[0].close()
            listening.accept()[0].close()
        client.join()
    assert len(errors) == 1
    expected = "closed|reset|Broken" if accepts else "does not answer"
    assert re.search(expected, errors[0])


async def test_flood_of_signals_does_not_move_the_deadline(tmp_path: Path) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await replying(close=True)(reader, writer)
        while True:
            writer.write(frame(4, {1: ("o", "/t"), 2: ("s", "t.T"), 3: ("s", "S")}) * 100)
            await writer.drain()
            await asyncio.sleep(0)

    began = time.monotonic()
    async with far_end(tmp_path, flood) as where, asyncio.timeout(60):
        with pytest.raises(TimeoutError):
            await ask_blocking(where, HASTY)
    assert time.monotonic() - began >= HASTY
