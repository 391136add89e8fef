"""Callers that call and read no replies, with a real bus that keeps their replies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from koi_agent.bus.client import BUS, BUS_PATH, connected
from koi_agent.bus.messages import Header, MessageType
from koi_agent.bus.server import Server
from koi_agent.bus.unread_replies import LIMIT, USER_LIMIT, UnreadReplies
from tests.bus.raw_client import RawClient, raw_client
from tests.bus.small_tree import NAME, ROOT, Tree, serving
from tests.http.serving import until
from tests.world.bus import PrivateBus
from tests.world.users import NOBODY, acting_as

MANAGED = (NAME, ROOT, "org.freedesktop.DBus.ObjectManager")
PEER = (NAME, ROOT, "org.freedesktop.DBus.Peer")
STATS = (BUS, BUS_PATH, f"{BUS}.Debug.Stats")
DENIED = '<deny send_interface="org.freedesktop.DBus.Debug.Stats"/></policy>'
OBJECTS, REPLY, CALLS = 2_000, 1_500_000, 40
"""The objects of a reply, more bytes than it has, and calls whose replies exceed the limit."""


async def read_all(client: RawClient) -> None:
    """Read the replies to ``ask_for_all``."""
    replies = 0
    while replies < CALLS:
        kind = (await client.receive()).header.kind
        assert kind in (MessageType.RETURN, MessageType.SIGNAL)
        replies += kind == MessageType.RETURN


async def ask_for_all(client: RawClient) -> None:
    path, interface = MANAGED[1:]
    for _ in range(CALLS):
        header = Header(kind=MessageType.CALL, path=path, interface=interface)
        header.destination, header.member = NAME, "GetManagedObjects"
        await client.send(header)


@asynccontextmanager
async def stranger(address: str) -> AsyncIterator[RawClient]:
    """Connect as another user."""
    async with AsyncExitStack() as opened:
        with acting_as(NOBODY):
            client = await opened.enter_async_context(raw_client(address))
        yield client


async def test_user_that_reads_no_replies_does_not_stop_those_to_others(
    open_bus: PrivateBus,
) -> None:
    server = Server(Tree(OBJECTS))
    async with serving(open_bus.address, server) as ours, connected(open_bus.address) as calm:
        async with stranger(open_bus.address) as client:
            await ask_for_all(client)
            await until(lambda: server._unread.exceeds(NOBODY))
            for _ in range(10):
                await calm.call(PEER, "Ping", within=60)
                (kept,) = await calm.call(STATS, "GetConnectionStats", "s", (ours.name,))
                assert kept["IncomingBytes"] < USER_LIMIT + REPLY
                await asyncio.sleep(0.1)
            await until(lambda: server._unread.exceeds(NOBODY))
            # Once it reads, it gets all replies.
            await read_all(client)
        await until(lambda: not server._unread._users)


async def test_unread_replies_of_a_connection_that_is_gone_are_forgotten(
    open_bus: PrivateBus,
) -> None:
    server = Server(Tree(OBJECTS))
    async with serving(open_bus.address, server):
        async with stranger(open_bus.address) as client:
            await ask_for_all(client)
            await until(lambda: server._unread.exceeds(NOBODY))
        async with stranger(open_bus.address) as client:
            await client.call(PEER, "Ping")


async def test_no_user_is_held_by_a_bus_that_does_not_know_what_is_unread(
    open_bus: PrivateBus, tmp_path: Path
) -> None:
    open_bus.kill()
    config = tmp_path / "bus.conf"
    config.write_text(config.read_text().replace("</policy>", DENIED))
    open_bus.start()
    (tmp_path / "bus").chmod(0o666)
    async with (
        serving(open_bus.address, Server(Tree(OBJECTS))),
        stranger(open_bus.address) as client,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(ask_for_all(client))
        await read_all(client)


class Bus:
    """A bus that keeps so many bytes for each caller."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.asked: list[str] = []
        self.unread = UnreadReplies(self.ask, lambda: None, (0,))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.unread.run())
            yield
            task.cancel()

    async def ask(self, caller: str) -> int:
        self.asked.append(caller)
        return self.kept.get(caller, 0)


async def test_user_that_reads_is_asked_for_once_and_never_held_for_long() -> None:
    bus = Bus()
    async with bus.running():
        for _ in range(5):
            bus.unread.add(1, ":1", USER_LIMIT)
            assert bus.unread.exceeds(1)
            await until(lambda: not bus.unread.exceeds(1))
    assert bus.asked == [":1"] * 5


async def test_user_is_held_until_it_has_read() -> None:
    bus, half = Bus(), USER_LIMIT // 2
    bus.kept = {":1": half, ":2": half}
    async with bus.running():
        for caller in bus.kept:
            bus.unread.add(1, caller, half)
        await until(lambda: len(bus.asked) > 4)
        assert bus.unread.exceeds(1)
        bus.kept[":2"] = 0
        await until(lambda: not bus.unread.exceeds(1))


def test_privileged_users_are_never_held() -> None:
    bus = Bus()
    bus.unread.add(0, ":1", 10 * LIMIT)
    assert not bus.unread.exceeds(0)


@pytest.mark.parametrize("gone", [":1", ":2"])
def test_callers_that_are_gone_are_forgotten(gone: str) -> None:
    bus = Bus()
    for caller in (":1", ":2"):
        bus.unread.add(1, caller, USER_LIMIT // 2)
    assert bus.unread.exceeds(1)
    bus.unread.forget(gone)
    assert not bus.unread.exceeds(1)
    bus.unread.forget(":3")


def test_of_many_users_that_with_the_most_is_held() -> None:
    bus = Bus()
    for uid in range(1, 11):
        bus.unread.add(uid, f":{uid}", LIMIT // 10 + uid)
    assert [uid for uid in range(12) if bus.unread.exceeds(uid)] == [10]
