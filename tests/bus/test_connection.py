"""One connection, and buses that misbehave."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from koi_agent.bus import writer
from koi_agent.bus.client import Connection, connected
from koi_agent.bus.connection import MessageSocket, Timing, open_socket
from koi_agent.bus.errors import BusLost
from koi_agent.bus.messages import Header, MessageType, marshal
from koi_agent.bus.signals import Changed, Signal, Subscription
from tests.bus.broken_buses import OPENING
from tests.bus.far_ends import Behaviour, far_end, greet, next_serial, silence
from tests.costs import stalls, used
from tests.world.bus import PrivateBus

BURST = 20_000


def signal(text: str) -> tuple[Header, bytes]:
    header = Header(kind=MessageType.SIGNAL, path="/t", interface="t.T", member="S", signature="s")
    return header, marshal("s", (text,))


def every_signal_of(
    sender: Connection, count: int
) -> tuple[Subscription, list[str], asyncio.Future[None]]:
    got: list[str] = []
    complete = asyncio.get_running_loop().create_future()

    def deliver(items: Sequence[Signal | Changed]) -> None:
        got.extend(item.body[0] for item in items if isinstance(item, Signal))
        if len(got) == count:
            complete.set_result(None)

    rule = f"type='signal',sender='{sender.name}',interface='t.T'"
    members = frozenset({("t.T", "S")})
    wanted = Subscription(sender=sender.name, rules=(rule,), members=members, deliver=deliver)
    return wanted, got, complete


async def test_burst_into_a_stopped_bus_arrives_in_order(bus: PrivateBus) -> None:
    async with connected(bus.address) as sender, connected(bus.address) as client:
        wanted, got, complete = every_signal_of(sender, BURST)
        async with client.subscribed(wanted):
            bus.stop()
            asyncio.get_running_loop().call_later(1, bus.cont)
            for number in range(BURST):
                sender.send(*signal(str(number)))
            async with stalls() as seen:
                await complete
    assert got == [str(number) for number in range(BURST)]
    assert seen.share < 0.2


@pytest.mark.parametrize("turns", range(-3, 6))
async def test_a_wait_ends_that_is_cancelled_in_the_moment_of_a_loss(
    bus: PrivateBus, turns: int
) -> None:
    """The loss must not replace the cancellation: what waits would connect again."""

    async def connect_again_and_again(opened: MessageSocket) -> None:
        while True:
            with suppress(BusLost):
                await opened.wait_for(asyncio.Event())
            await asyncio.sleep(60)

    opened = await open_socket(bus.address, lambda _message: None)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(connect_again_and_again(opened))
        await asyncio.sleep(0.01)
        for turn in range(-3, 6):
            if turn == 0:
                opened.close()
            if turn == turns:
                waiting.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([waiting], timeout=5)
        assert waiting.cancelled()


async def test_drain_waits_for_a_bus_that_does_not_read(bus: PrivateBus) -> None:
    async with connected(bus.address) as sender:
        bus.stop()
        while sender.writable:
            for _ in range(100):
                sender.send(*signal("x" * 10_000))
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sender.drain()
        bus.cont()
        await sender.drain()


@pytest.mark.parametrize(("behave", "reason"), OPENING)
async def test_broken_bus_is_an_error_in_bounded_time(
    behave: Behaviour, reason: str, tmp_path: Path
) -> None:
    timing = Timing(open=0.5)
    async with far_end(tmp_path, behave) as where, asyncio.timeout(60):
        with used() as use, pytest.raises(BusLost, match=reason):
            async with connected(where, timing):
                pass
    assert use.elapsed < timing.open or use.share < 0.5, "busy while waiting"


async def test_garbage_ends_the_connection_with_a_reason(tmp_path: Path) -> None:
    async def send_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await next_serial(reader)
        writer.write(b"\0" * 64)
        await silence(reader, writer)

    async with far_end(tmp_path, send_garbage) as where, connected(where) as link:
        with pytest.raises(BusLost, match="not a D-Bus message"):
            await link.get("t.T", "/", "t.T", "P")
        assert "not a D-Bus message" in await link.wait_closed()


async def test_bus_that_stops_reading_ends_the_connection_at_the_queue_limit(
    tmp_path: Path,
) -> None:
    async def stop_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # the reader's transport
        await silence(reader, writer)

    header, body = signal("x" * 2**20)
    async with far_end(tmp_path, stop_reading) as where, connected(where) as link:
        for _ in range(writer.QUEUE_LIMIT >> 20):
            link.send(header, body)
        with pytest.raises(BusLost, match="unread"):
            link.send(header, body)
        assert "unread" in await link.wait_closed()


async def test_cancelled_open_leaves_no_socket(tmp_path: Path) -> None:
    async with far_end(tmp_path, silence) as where:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await open_socket(where, lambda _message: None)


@pytest.mark.parametrize(
    "where",
    [
        "",
        "values of type 'u'",
        "tcp:host=localhost,port=1",
        "unix:tmpdir=/tmp",
        "unix:path=/does/not/exist",
    ],
)
async def test_address_that_leads_nowhere_is_bus_lost(where: str) -> None:
    with pytest.raises(BusLost):
        async with connected(where or ";"):
            pass


async def test_first_address_that_can_be_used_is_used(bus: PrivateBus) -> None:
    async with connected(f"tcp:host=localhost,port=1;{bus.address}") as link:
        assert link.name.startswith(":")
