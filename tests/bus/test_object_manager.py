"""ObjectManager and PropertiesChanged, as other clients see them."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from koi_agent.bus.client import BUS, BUS_PATH, CallError, Connection, connected
from koi_agent.bus.messages import marshal
from koi_agent.bus.reader import unmarshal
from koi_agent.bus.server import Limits
from koi_agent.bus.signals import Changed, Signal, Subscription
from tests.bus.raw_client import raw_client
from tests.bus.small_tree import (
    ITEM,
    ITEM_INTERFACE,
    NAME,
    ROOT,
    Item,
    Tree,
    busctl,
    path_of,
    served,
)
from tests.bus.wire import plain
from tests.costs import stalls
from tests.world.bus import PrivateBus

OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
MANAGED = "GetManagedObjects"
MANY = 5000
SIGNATURE = "a{oa{sa{sv}}}"


async def managed(link: Connection) -> dict[str, Any]:
    (objects,) = await link.call((NAME, ROOT, OBJECT_MANAGER), "GetManagedObjects")
    assert isinstance(objects, dict)
    return objects


def expected(tree: Tree) -> dict[str, Any]:
    """Return what GetManagedObjects must contain, from each object's properties."""
    return {
        path: {ITEM: {p.name: plain(p.get(item)) for p in ITEM_INTERFACE.properties.values()}}
        for path, item in tree.items.items()
    }


async def test_all_objects_in_one_reply(bus: PrivateBus) -> None:
    tree = Tree(3)
    async with served(bus.address, tree), connected(bus.address) as link:
        assert await managed(link) == expected(tree)
        call = ("call", NAME, ROOT, OBJECT_MANAGER, "GetManagedObjects")
        _, answer = await busctl(bus.address, "--json=short", *call)
        (objects,) = json.loads(answer)["data"]
        assert objects[path_of(1)][ITEM]["Name"]["data"] == "item1"
        assert set(objects) == set(tree.items)
        tree.items.clear()
        assert await managed(link) == {}


async def test_five_thousand_objects_without_a_stall_and_marshalled_once(bus: PrivateBus) -> None:
    command = ("--quiet", "call", NAME, ROOT, OBJECT_MANAGER, "GetManagedObjects")
    async with served(bus.address, Tree(MANY)):
        async with stalls() as first:
            assert (await busctl(bus.address, *command))[0] == 0
        async with stalls() as again:
            assert (await busctl(bus.address, *command))[0] == 0
    assert max(first.longest, again.longest) < first.total / 5
    assert again.total < first.total / 2


async def test_reply_is_true_while_objects_come_and_go() -> None:
    tree = Tree(500)

    def change(number: int) -> None:
        gone, new = path_of(number), path_of(1000 + number)
        del tree.items[gone]
        tree.items[new] = Item(new[-4:])
        tree.managed.forget(gone)
        tree.items[path_of(499)].state = new[-4:]
        tree.managed.forget(path_of(499))

    async with asyncio.TaskGroup() as group:
        answer = group.create_task(tree.managed.answer(tree.managed_paths))
        for number in range(20):
            change(number)
            await asyncio.sleep(0)
        assert not answer.done()
    assert unmarshal(SIGNATURE, answer.result()) == [expected(tree)]


async def test_path_without_an_object_is_left_out() -> None:
    tree = Tree(2)
    answer = await tree.managed.answer(lambda: [path_of(0), path_of(7)])
    assert [*unmarshal(SIGNATURE, answer)[0]] == [path_of(0)]


async def test_replies_to_many_senders_are_made_one_by_one(bus: PrivateBus) -> None:
    tree = Tree(MANY)
    async with served(bus.address, tree) as ours, connected(bus.address) as link:
        largest = 0

        async def watch() -> None:
            nonlocal largest
            while True:
                largest = max(largest, ours._socket.writer.size)
                await asyncio.sleep(0)

        asking = ("call", NAME, ROOT, OBJECT_MANAGER, "GetManagedObjects")
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            async with asyncio.TaskGroup() as clients:
                for _ in range(8):
                    clients.create_task(busctl(bus.address, "--quiet", *asking))
            watching.cancel()
        await link.call((NAME, ROOT, "org.freedesktop.DBus.Peer"), "Ping")
        one = len(await tree.managed.answer(tree.managed_paths))
        assert one / 4 < largest < 1.5 * one


def subscription(got: list[Signal], came: asyncio.Event, count: int) -> Subscription:
    def deliver(items: Sequence[Signal | Changed]) -> None:
        got.extend(item for item in items if isinstance(item, Signal))
        if len(got) >= count:
            came.set()

    members = {(OBJECT_MANAGER, "InterfacesAdded"), (OBJECT_MANAGER, "InterfacesRemoved")}
    return Subscription(
        sender=NAME,
        rules=(f"type='signal',sender='{NAME}',path='{ROOT}',interface='{OBJECT_MANAGER}'",),
        members=frozenset(members),
        deliver=deliver,
    )


async def test_signals_of_added_and_removed_objects_have_the_root_path(bus: PrivateBus) -> None:
    tree, got, came = Tree(2), list[Signal](), asyncio.Event()
    async with (
        served(bus.address, tree) as ours,
        connected(bus.address) as link,
        link.subscribed(subscription(got, came, 2)),
    ):
        tree.managed.added(ours, path_of(1), tree.interfaces(path_of(1)))
        tree.managed.removed(ours, path_of(1), [ITEM])
        await came.wait()
    added, removed = got
    assert (added.path, removed.path) == (ROOT, ROOT)
    assert added.body == [path_of(1), expected(tree)[path_of(1)]]
    assert removed.body == [path_of(1), [ITEM]]


async def test_properties_changed_follows_emits_changed_signal(bus: PrivateBus) -> None:
    tree = Tree(1)
    item = tree.items[path_of(0)]
    async with served(bus.address, tree) as ours, raw_client(bus.address) as client:
        before = (await client.call((NAME, ROOT, OBJECT_MANAGER), MANAGED)).values()[0]
        rule = "type='signal',interface='org.freedesktop.DBus.Properties'"
        await client.call((BUS, BUS_PATH, BUS), "AddMatch", rule)
        item.state, item.tags = "paused", {"new": "tag"}
        for names in (["Name", "Seen"], ["State", "Tags", "Name"]):
            tree.managed.changed(ours, path_of(0), ITEM_INTERFACE, item, names)
        signal = await client.receive()
        after = (await client.call((NAME, ROOT, OBJECT_MANAGER), MANAGED)).values()[0]
    assert (signal.header.path, signal.header.member) == (path_of(0), "PropertiesChanged")
    assert signal.values() == [ITEM, {"State": "paused"}, ["Tags"]]
    assert before[path_of(0)][ITEM]["State"] == "running"
    assert after == expected(tree)


async def test_forgotten_object_is_marshalled_again(bus: PrivateBus) -> None:
    tree = Tree(1)
    async with served(bus.address, tree), connected(bus.address) as link:
        await managed(link)
        tree.items[path_of(0)].state = "paused"
        tree.managed.forget(path_of(0))
        assert await managed(link) == expected(tree)


async def test_reply_too_large_for_the_bus_is_an_error(bus: PrivateBus) -> None:
    tree = Tree(10)
    async with (
        served(bus.address, tree, limits=Limits(reply=1000)),
        connected(bus.address) as link,
    ):
        with pytest.raises(CallError, match="LimitsExceeded"):
            await managed(link)


def test_entry_is_the_body_of_its_signal() -> None:
    tree = Tree(1)
    shown = expected(tree)[path_of(0)]
    path, said = unmarshal("oa{sa{sv}}", tree.managed.entry(path_of(0)))
    assert (path, said) == (path_of(0), shown)
    assert marshal("o", (path,)) in tree.managed.entry(path_of(0))
