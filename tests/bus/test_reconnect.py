"""A bus that dies and comes back, and who owns the names on it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

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


async def test_fifty_deaths_of_the_bus_leak_nothing(bus: PrivateBus) -> None:
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


async def test_stopped_bus_goes_on_where_it_was(bus: PrivateBus) -> None:
    async with running(ReconnectingBus(bus.address, nothing)) as ours:
        link = await ours.connection()
        bus.stop()
        asyncio.get_running_loop().call_later(0.2, bus.cont)
        assert await link.request_name(NAME)
        assert ours.reconnects == 0


async def test_bus_that_is_not_there_yet_is_waited_for(bus: PrivateBus) -> None:
    bus.kill()
    async with running(ReconnectingBus(bus.address, nothing)) as ours:
        asyncio.get_running_loop().call_later(0.2, bus.start)
        assert (await ours.connection()).name


async def test_link_made_again_is_another(bus: PrivateBus) -> None:
    async with running(ReconnectingBus(bus.address, nothing)) as ours:
        first = await ours.connection()
        bus.kill()
        await first.wait_closed()
        bus.start()
        assert await ours.connection() is not first


def listener(got: list[Sequence[object]], came: asyncio.Event) -> Subscription:
    def deliver(items: Sequence[Signal | Changed]) -> None:
        got.extend(item.body for item in items if isinstance(item, Signal))
        came.set()

    rule = f"type='signal',sender='{NAME}',interface='t.I'"
    members = frozenset({("t.I", "S")})
    return Subscription(sender=NAME, rules=(rule,), members=members, deliver=deliver)


def speak(link: Connection, destination: str = "") -> None:
    link.send(Header(kind=4, path="/t", interface="t.I", member="S", destination=destination))


async def test_new_owner_is_told_and_believed(bus: PrivateBus) -> None:
    got: list[Sequence[object]] = []
    came = asyncio.Event()
    async with connected(bus.address) as us, us.subscribed(listener(got, came)) as owner:
        assert owner == ""
        async with connected(bus.address) as first:
            await first.request_name(NAME)
            speak(first)
            while len(got) < 2:
                came.clear()
                await came.wait()
            assert got == [[NAME, "", first.name], []]
        while len(got) < 3:
            came.clear()
            await came.wait()
        assert got[2] == [NAME, first.name, ""]


async def test_owner_that_changes_while_it_is_asked_after_is_the_newer_one(
    bus: PrivateBus,
) -> None:
    got: list[Sequence[object]] = []
    async with connected(bus.address) as us, connected(bus.address) as other:
        asked = asyncio.Event()

        async def ask_then_be_late(name: str) -> str:
            await other.request_name(name)
            await us.call((BUS, BUS_PATH, BUS), "ListNames")  # the signal is here by now
            asked.set()
            return ""

        us._owner = ask_then_be_late  # type: ignore[method-assign]  # an answer overtaken
        came = asyncio.Event()
        async with us.subscribed(listener(got, came)) as owner:
            assert owner == other.name
            came.clear()
            speak(other)
            await came.wait()
        assert got == [[NAME, "", other.name], []]


async def test_stranger_is_not_heard(bus: PrivateBus) -> None:
    got: list[Sequence[object]] = []
    async with (
        connected(bus.address) as us,
        connected(bus.address) as owner,
        connected(bus.address) as stranger,
    ):
        await owner.request_name(NAME)
        came = asyncio.Event()
        async with us.subscribed(listener(got, came)):
            speak(stranger, us.name)
            await stranger.unix_user(us.name)
            speak(owner)
            await came.wait()
        assert got == [[]]


async def test_two_parts_hear_the_same_signal(bus: PrivateBus) -> None:
    one: list[Sequence[object]] = []
    two: list[Sequence[object]] = []
    came = asyncio.Event()
    async with connected(bus.address) as us, connected(bus.address) as owner:
        await owner.request_name(NAME)
        async with us.subscribed(listener(one, asyncio.Event())):
            async with us.subscribed(listener(two, came)):
                speak(owner)
                await came.wait()
            # Taking back the rule of one leaves the other's.
            await us.unix_user(us.name)
            speak(owner)
            await owner.unix_user(us.name)
            await us.unix_user(us.name)
    assert one == [[], []]
    assert two == [[]]


async def test_refused_rule_takes_back_only_what_was_added(bus: PrivateBus) -> None:
    def deliver(items: Sequence[Signal | Changed]) -> None:
        raise AssertionError(items)

    broken = Subscription(sender=NAME, rules=("no rule",), deliver=deliver)
    async with connected(bus.address) as us:
        with pytest.raises(CallError, match="MatchRuleInvalid"):
            async with us.subscribed(broken):
                pass
        assert not us._subscriptions
        assert await us.unix_user(us.name) >= 0


async def test_subscriber_with_a_bug_costs_the_connection_not_the_truth(
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
