"""Every call ends: with a reply, an error, or the connection."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from koi_agent.bus.calls import Call
from koi_agent.bus.client import BUS, BUS_PATH, CallError, Connection, connected
from koi_agent.bus.connection import Timing
from koi_agent.bus.errors import BusLost
from koi_agent.bus.messages import Header, MessageType, encode
from koi_agent.bus.signals import Changed, Signal, Subscription
from tests.bus.far_ends import far_end, greet, next_serial, silence
from tests.world.bus import PrivateBus

DRIVER = (BUS, BUS_PATH, BUS)


def pending(link: Connection) -> int:
    return len(link._socket._replies)


async def test_values_of_a_reply_contain_no_variants(bus: PrivateBus) -> None:
    async with connected(bus.address) as link:
        (names,) = await link.call(DRIVER, "ListNames")
        assert link.name in names
        assert await link.get(BUS, BUS_PATH, BUS, "Interfaces")


async def test_error_reply_raises_its_name(bus: PrivateBus) -> None:
    async with connected(bus.address) as link:
        with pytest.raises(CallError, match="NameHasNoOwner") as raised:
            await link.unix_user("org.example.Nobody")
        assert raised.value.name == "org.freedesktop.DBus.Error.NameHasNoOwner"
        assert pending(link) == 0


async def test_timed_out_calls_leave_no_handler(bus: PrivateBus) -> None:
    async with connected(bus.address) as link, asyncio.TaskGroup() as group:
        bus.stop()

        async def ask() -> None:
            with pytest.raises(TimeoutError):
                await link.call(DRIVER, "ListNames", within=0.05)

        for _ in range(50):
            group.create_task(ask())
        await asyncio.sleep(0)
        assert pending(link) == 0 or pending(link) == 50
        await ask()
        await ask()
        assert pending(link) == 0
        bus.cont()
        assert await link.call(DRIVER, "ListNames")


async def test_late_reply_is_dropped(bus: PrivateBus) -> None:
    async with connected(bus.address) as link:
        bus.stop()
        with pytest.raises(TimeoutError):
            await link.call(DRIVER, "ListNames", within=0.01)
        bus.cont()
        (answer,) = await link.call(DRIVER, "GetNameOwner", "s", (link.name,))
        assert answer == link.name


async def test_all_pending_calls_fail_when_the_bus_dies(bus: PrivateBus) -> None:
    failed: list[str] = []
    async with connected(bus.address) as link, asyncio.timeout(20), asyncio.TaskGroup() as group:

        async def ask() -> None:
            try:
                await link.call(DRIVER, "ListNames")
            except BusLost as lost:
                failed.append(str(lost))

        bus.stop()
        for _ in range(20):
            group.create_task(ask())
        await asyncio.sleep(0)
        bus.kill()
        await link.wait_closed()
        with pytest.raises(BusLost):
            await link.call(DRIVER, "ListNames")
        with pytest.raises(BusLost):
            await link.request_name("t.T")
        await link.drain()
    assert len(failed) == 20
    assert pending(link) == 0


async def test_cancelled_call_leaves_no_handler(bus: PrivateBus) -> None:
    async with connected(bus.address) as link:
        bus.stop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await link.call(DRIVER, "ListNames")
        assert pending(link) == 0
        bus.cont()


async def test_unreadable_reply_is_an_error_of_the_call(tmp_path: Path) -> None:
    async def send_broken_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        serial = await next_serial(reader)
        header = Header(kind=MessageType.RETURN, serial=2, reply_serial=serial, signature="s")
        writer.write(encode(header, b"\xff\0\0\0"))
        await silence(reader, writer)

    async with far_end(tmp_path, send_broken_text) as where, connected(where) as link:
        with pytest.raises(CallError, match="InconsistentMessage"):
            await link.call(DRIVER, "ListNames", within=1)


async def test_call_ends_a_pause_of_reading(bus: PrivateBus) -> None:
    hour = Timing(read_pause=3600.0)
    received = asyncio.Event()

    def deliver(_items: Sequence[Signal | Changed]) -> None:
        received.set()

    members = frozenset({(BUS, "NameOwnerChanged")})
    wanted = Subscription(sender="t.T", rules=(), members=members, deliver=deliver)
    async with (
        connected(bus.address, hour) as link,
        connected(bus.address) as other,
        link.subscribed(wanted),
    ):
        await other.request_name("t.T")
        await asyncio.sleep(0.1)  # the signal has most likely come
        assert not received.is_set()
        assert await link.call(DRIVER, "ListNames")
        assert received.is_set()


async def test_name_has_one_owner(bus: PrivateBus) -> None:
    async with connected(bus.address) as one, connected(bus.address) as other:
        assert await one.request_name("t.T")
        assert await one.request_name("t.T")
        assert not await other.request_name("t.T")


async def test_calls_that_are_sent_together_are_answered_in_order(bus: PrivateBus) -> None:
    names = (BUS, "no.such", BUS)
    async with connected(bus.address) as link:
        answers = await link.call_all([Call(DRIVER, "GetNameOwner", "s", (one,)) for one in names])
        assert answers[0] == answers[2] == [BUS]
        assert isinstance(answers[1], CallError)
        assert answers[1].name == f"{BUS}.Error.NameHasNoOwner"
        assert await link.call_all([]) == []
