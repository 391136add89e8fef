"""A bus that is lost and comes back, and names that get another owner."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from koi_agent.bus.client import (
    BUS,
    BUS_PATH,
    CallError,
    Connection,
    ReconnectingBus,
    connected,
)
from koi_agent.bus.connection import Timing
from koi_agent.bus.messages import Header
from koi_agent.bus.signals import Changed, Signal, Subscription
from tests.bus.far_ends import answer, far_end, greet, next_serial, silence
from tests.bus.wire import frame
from tests.conftest import open_files
from tests.world.bus import PrivateBus

NAME = "t.T"


@asynccontextmanager
async def running(bus: ReconnectingBus) -> AsyncIterator[ReconnectingBus]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bus.run())
        yield bus
        task.cancel()


def nothing(_link: Connection, _message: object) -> None:
    return


async def test_fifty_losses_of_the_bus_leak_nothing(bus: PrivateBus) -> None:
    timing = Timing(first_retry=0.02, longest_retry=0.05)
    async with running(ReconnectingBus(bus.address, nothing, timing)) as ours:
        assert await (await ours.connection()).request_name(NAME)
        files, tasks = len(open_files()), len(asyncio.all_tasks())
        for _ in range(50):
            link = await ours.connection()
            bus.kill()
            await link.wait_closed()
            bus.start()
            assert await (await ours.connection()).request_name(NAME)
        assert ours.reconnects == 50
        assert len(open_files()) == files
        assert len(asyncio.all_tasks()) == tasks


async def test_stopped_bus_keeps_its_connection(bus: PrivateBus) -> None:
    async with running(ReconnectingBus(bus.address, nothing)) as ours:
        link = await ours.connection()
        bus.stop()
        asyncio.get_running_loop().call_later(0.2, bus.cont)
        assert await link.request_name(NAME)
        assert ours.reconnects == 0


async def test_bus_that_starts_later_is_waited_for(bus: PrivateBus) -> None:
    bus.kill()
    async with running(ReconnectingBus(bus.address, nothing)) as ours:
        asyncio.get_running_loop().call_later(0.2, bus.start)
        assert (await ours.connection()).name


async def test_new_connection_is_another_object(bus: PrivateBus) -> None:
    async with running(ReconnectingBus(bus.address, nothing)) as ours:
        first = await ours.connection()
        bus.kill()
        await first.wait_closed()
        bus.start()
        assert await ours.connection() is not first


def subscription(got: list[Sequence[object]], came: asyncio.Event) -> Subscription:
    def deliver(items: Sequence[Signal | Changed]) -> None:
        got.extend(item.body for item in items if isinstance(item, Signal))
        came.set()

    rule = f"type='signal',sender='{NAME}',interface='t.I'"
    members = frozenset({("t.I", "S")})
    return Subscription(sender=NAME, rules=(rule,), members=members, deliver=deliver)


def emit(link: Connection, destination: str = "") -> None:
    link.send(Header(kind=4, path="/t", interface="t.I", member="S", destination=destination))


async def test_signals_of_a_new_owner_are_delivered(bus: PrivateBus) -> None:
    got: list[Sequence[object]] = []
    came = asyncio.Event()
    async with connected(bus.address) as us, us.subscribed(subscription(got, came)) as owner:
        assert owner == ""
        async with connected(bus.address) as first:
            await first.request_name(NAME)
            emit(first)
            while len(got) < 2:
                came.clear()
                await came.wait()
            assert got == [[NAME, "", first.name], []]
        while len(got) < 3:
            came.clear()
            await came.wait()
        assert got[2] == [NAME, first.name, ""]


async def test_owner_that_changes_before_the_answer_is_processed_is_the_newer_one(
    tmp_path: Path,
) -> None:
    async def change_owner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        writer.write(answer(await next_serial(reader), "", []))
        fields = {1: ("o", BUS_PATH), 2: ("s", BUS), 3: ("s", "NameOwnerChanged"), 7: ("s", BUS)}
        changed = frame(4, fields, "sss", [NAME, ":1.8", ":1.9"])
        writer.write(changed + answer(await next_serial(reader), "s", [":1.8"]))
        writer.write(answer(await next_serial(reader), "", []))
        await silence(reader, writer)

    got: list[Sequence[object]] = []
    wanted = subscription(got, asyncio.Event())
    async with (
        far_end(tmp_path, change_owner) as address,
        connected(address) as us,
        us.subscribed(wanted) as owner,
    ):
        assert owner == ":1.9"
    assert got == [[NAME, ":1.8", ":1.9"]]


async def test_signals_of_another_sender_are_dropped(bus: PrivateBus) -> None:
    got: list[Sequence[object]] = []
    async with (
        connected(bus.address) as us,
        connected(bus.address) as owner,
        connected(bus.address) as stranger,
    ):
        await owner.request_name(NAME)
        came = asyncio.Event()
        async with us.subscribed(subscription(got, came)):
            emit(stranger, us.name)
            await stranger.unix_user(us.name)
            emit(owner)
            await came.wait()
        assert got == [[]]


async def test_two_subscriptions_get_the_same_signal(bus: PrivateBus) -> None:
    one: list[Sequence[object]] = []
    two: list[Sequence[object]] = []
    came = asyncio.Event()
    async with connected(bus.address) as us, connected(bus.address) as owner:
        await owner.request_name(NAME)
        async with us.subscribed(subscription(one, asyncio.Event())):
            async with us.subscribed(subscription(two, came)):
                emit(owner)
                await came.wait()
            # The match rule of the other subscription is still there.
            await us.unix_user(us.name)
            emit(owner)
            await owner.unix_user(us.name)
            await us.unix_user(us.name)
    assert one == [[], []]
    assert two == [[]]


async def test_refused_match_rule_ends_the_subscription(bus: PrivateBus) -> None:
    def deliver(items: Sequence[Signal | Changed]) -> None:
        raise AssertionError(items)

    broken = Subscription(sender=NAME, rules=("no rule",), deliver=deliver)
    async with connected(bus.address) as us:
        with pytest.raises(CallError, match="MatchRuleInvalid"):
            async with us.subscribed(broken):
                pass
        assert not us._subscriptions
        assert await us.unix_user(us.name) >= 0


async def test_exception_of_a_subscriber_ends_the_connection(
    bus: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    def deliver(items: Sequence[Signal | Changed]) -> None:
        raise RuntimeError("a bug")

    async with connected(bus.address) as us, connected(bus.address) as other:
        wanted = Subscription(sender=NAME, rules=(), deliver=deliver)
        async with us.subscribed(wanted):
            await other.request_name(NAME)
            assert await us.wait_closed() == "a bug"
    assert "a bug" in caplog.text
