"""One user's calls against those of others, with a real bus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from koi_agent.bus.client import Connection, connected
from koi_agent.bus.messages import Flag, Header, MessageType, marshal
from koi_agent.bus.server import DEFAULT_LIMITS, Server
from tests.bus.raw_client import raw_client
from tests.bus.small_tree import ITEM, ITEMS, MANAGER, NAME, ROOT, Item, Tree, path_of, serving
from tests.http.serving import until
from tests.world.bus import PrivateBus
from tests.world.users import NOBODY, acting_as

PROPERTIES = "org.freedesktop.DBus.Properties"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
CONNECTIONS = 100


class CountingTree(Tree):
    """A tree that counts how often it is read."""

    def __init__(self, count: int = 3) -> None:
        super().__init__(count)
        self.listed = 0
        self.managed_replies = 0

    def children(self, path: str) -> Any:
        self.listed += path == ITEMS
        return super().children(path)

    def managed_paths(self) -> Any:
        self.managed_replies += 1
        return super().managed_paths()


def call(path: str, interface: str, member: str, *, flags: int = 0) -> Header:
    header = Header(kind=MessageType.CALL, path=path, interface=interface, member=member)
    header.destination, header.flags = NAME, flags
    return header


@asynccontextmanager
async def crowd(address: str, uid: int) -> AsyncIterator[list[Connection]]:
    """Connect many times as one user."""
    async with AsyncExitStack() as opened:
        links = []
        for _ in range(CONNECTIONS):
            with acting_as(uid):
                links.append(await opened.enter_async_context(connected(address)))
        yield links


async def ping(link: Connection) -> None:
    await link.call((NAME, ROOT, "org.freedesktop.DBus.Peer"), "Ping", within=60)


READS = [
    (ROOT, MANAGER, "Busy", "", ()),
    (ROOT, MANAGER, "Slow", "", ()),
    (ROOT, "", "Busy", "", ()),
    (ROOT, OBJECT_MANAGER, "GetManagedObjects", "", ()),
    (ITEMS, INTROSPECTABLE, "Introspect", "", ()),
    ("/nowhere", MANAGER, "Busy", "", ()),
    (ROOT, MANAGER, "None", "", ()),
]


@pytest.mark.parametrize(("path", "interface", "member", "signature", "body"), READS)
async def test_read_without_reply_does_nothing(
    bus: PrivateBus, path: str, interface: str, member: str, signature: str, body: tuple[Any, ...]
) -> None:
    tree = CountingTree()
    async with (
        serving(bus.address, Server(tree)),
        raw_client(bus.address) as client,
        connected(bus.address) as link,
    ):
        header = call(path, interface, member, flags=Flag.NO_REPLY_EXPECTED)
        header.signature = signature
        for _ in range(50):
            await client.send(header, marshal(signature, body))
        await client.call((NAME, ROOT, "org.freedesktop.DBus.Peer"), "Ping")
        await ping(link)
    assert not tree.calls
    assert not tree.managed_replies


async def test_change_without_reply_is_made(bus: PrivateBus) -> None:
    tree = Tree()
    async with serving(bus.address, Server(tree)), raw_client(bus.address) as client:
        await client.send(call(ROOT, MANAGER, "Guarded", flags=Flag.NO_REPLY_EXPECTED))
        await until(lambda: len(tree.calls) == 1)


async def flood(address: str, header: Header, count: int) -> None:
    """Call without reading a reply, and disconnect."""
    async with raw_client(address) as client:
        for _ in range(count):
            await client.send(header)


async def test_queued_calls_of_caller_that_is_gone_are_dropped(bus: PrivateBus) -> None:
    tree = Tree()
    server = Server(tree)
    async with serving(bus.address, server), connected(bus.address) as link:
        await flood(bus.address, call(ROOT, MANAGER, "Busy"), 120)
        await until(lambda: not server._queue._calls and not server._queue._waiting)
        done = len(tree.calls)
        await ping(link)
        assert len(tree.calls) == done < 120


async def test_calls_under_way_of_caller_that_is_gone_end(bus: PrivateBus) -> None:
    tree = Tree()
    server = Server(tree)
    async with serving(bus.address, server):
        async with raw_client(bus.address) as client:
            for _ in range(8):
                await client.send(call(ROOT, MANAGER, "Slow"))
            await until(lambda: len(tree.calls) == 8)
            assert server._of_users.total == 8
        await until(lambda: server._of_users.total == 0)
    assert not tree.open.is_set()


async def test_change_of_caller_that_is_gone_is_finished(bus: PrivateBus) -> None:
    tree = Tree()
    server = Server(tree)
    async with serving(bus.address, server), connected(bus.address) as link:
        async with raw_client(bus.address) as client:
            await client.send(call(ROOT, MANAGER, "SlowChange"))
            await until(lambda: len(tree.calls) == 1)
        assert server._callers
        await until(lambda: server._callers is not None and not server._callers._uids)
        await ping(link)
        tree.open.set()
        await until(lambda: tree.changes == 1)


async def test_nothing_is_kept_of_callers_that_are_gone(bus: PrivateBus) -> None:
    server = Server(Tree())
    async with serving(bus.address, server), connected(bus.address) as link:
        for count in (0, 1, 2, 50):
            async with asyncio.TaskGroup() as group:
                for member in ("Busy", "Slow", "None"):
                    group.create_task(flood(bus.address, call(ROOT, MANAGER, member), count))
        await ping(link)
        callers = server._callers
        assert callers
        await until(lambda: set(callers._uids) == {link.name} and not callers._lookups)
        await until(lambda: server._of_users.total == 0)
        assert not server._reads
        assert not server._queue._waiting
        assert server._queue._unknown.total == 0


async def test_user_of_call_is_known(open_bus: PrivateBus) -> None:
    tree = Tree()
    async with serving(open_bus.address, Server(tree)), AsyncExitStack() as opened:
        for uid in (NOBODY, 0):
            with acting_as(uid):
                link = await opened.enter_async_context(connected(open_bus.address))
            for _ in range(2):
                await link.call((NAME, ROOT, MANAGER), "Busy")
    assert [one.uid for one in tree.calls] == [NOBODY, NOBODY, 0, 0]


async def test_users_are_asked_for_again_on_a_new_connection(bus: PrivateBus) -> None:
    server = Server(Tree())
    for _ in range(2):
        async with serving(bus.address, server), connected(bus.address) as link:
            await ping(link)
            assert server._callers
            assert set(server._callers._uids) == {link.name}


async def test_users_are_known_after_the_connection_that_asks_for_them_is_lost(
    bus: PrivateBus,
) -> None:
    server = Server(Tree())
    async with serving(bus.address, server) as ours:
        for _ in range(3):
            async with connected(bus.address) as link:
                await ping(link)
            assert server._callers
            asking = server._callers._link
            assert asking
            assert asking is not ours
            asking._socket.close()
        assert not ours.closed


async def test_many_connections_of_one_user_have_one_turn(open_bus: PrivateBus) -> None:
    tree = Tree()
    async with (
        serving(open_bus.address, Server(tree)),
        crowd(open_bus.address, NOBODY) as hostile,
        connected(open_bus.address) as calm,
    ):
        await ping(calm)
        for link in hostile:
            for _ in range(8):
                link.send(call(ROOT, MANAGER, "Busy"))
        await until(lambda: len(tree.calls) > 3)
        for _ in range(5):
            before = len(tree.calls)
            await ping(calm)
            # With a turn for each connection, a call of another user would wait for all of them.
            assert len(tree.calls) - before < CONNECTIONS / 2
        assert len(tree.calls) < 8 * CONNECTIONS


async def test_large_replies_of_one_user_have_one_turn(open_bus: PrivateBus) -> None:
    tree = CountingTree(2000)
    async with (
        serving(open_bus.address, Server(tree)),
        crowd(open_bus.address, NOBODY) as hostile,
        connected(open_bus.address) as calm,
    ):
        await calm.call((NAME, ROOT, OBJECT_MANAGER), "GetManagedObjects", within=60)
        for link in hostile:
            await ping(link)
        for link in hostile:
            for _ in range(3):
                link.send(call(ROOT, OBJECT_MANAGER, "GetManagedObjects"))
        before = tree.managed_replies
        await until(lambda: tree.managed_replies > before + 3)
        before = tree.managed_replies
        await calm.call((NAME, ROOT, OBJECT_MANAGER), "GetManagedObjects", within=60)
        # Each reply reads the paths twice. The hostile connections wait for three replies each.
        assert tree.managed_replies - before < CONNECTIONS


async def test_one_user_cannot_have_all_calls_under_way(open_bus: PrivateBus) -> None:
    tree = Tree()
    server = Server(tree)
    async with (
        serving(open_bus.address, server),
        crowd(open_bus.address, NOBODY) as hostile,
        connected(open_bus.address) as calm,
        asyncio.TaskGroup() as group,
    ):
        for link in hostile:
            for _ in range(16):
                link.send(call(ROOT, MANAGER, "Slow"))
        await until(lambda: len(tree.calls) == DEFAULT_LIMITS.calls_of_a_user)
        assert DEFAULT_LIMITS.calls_of_a_user < 16 * CONNECTIONS
        slow = group.create_task(calm.call((NAME, ROOT, MANAGER), "Slow"))
        await until(lambda: tree.calls[-1].uid == 0)
        tree.open.set()
        assert await slow == ["done"]


async def test_introspection_of_many_objects_is_written_once(bus: PrivateBus) -> None:
    tree = CountingTree(500)
    async with serving(bus.address, Server(tree)) as ours, connected(bus.address) as link:

        async def text(path: str) -> str:
            (found,) = await link.call((NAME, path, INTROSPECTABLE), "Introspect")
            assert isinstance(found, str)
            return found

        first = await text(ITEMS)
        assert first.count("<node name=") == 500
        assert await text(ITEMS) is not None
        before = tree.listed
        for _ in range(20):
            assert await text(ITEMS) == first
        assert tree.listed - before <= 20  # to find the node, not to describe it
        assert ITEM in await text(path_of(1))
        assert ITEM not in first
        assert await text(path_of(1)) == await text(path_of(2))
        new = tree.items[path_of(500)] = Item("new")
        tree.managed.added(ours, path_of(500), tree.interfaces(path_of(500)))
        assert '"i500"' in await text(ITEMS)
        del tree.items[path_of(500)], new
        tree.managed.removed(ours, path_of(500), [ITEM])
        assert '"i500"' not in await text(ITEMS)
