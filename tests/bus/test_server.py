"""Replies to callers, and errors that contain only what is wrong with the call."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.messages import Flag, Header, MessageType, marshal
from koi_agent.bus.server import DEFAULT_LIMITS
from koi_agent.bus.variants import Variant
from tests.bus.raw_client import raw_client
from tests.bus.small_tree import ITEM, ITEMS, MANAGER, NAME, ROOT, Tree, busctl, path_of, served
from tests.costs import stalls
from tests.world.bus import PrivateBus

PROPERTIES = "org.freedesktop.DBus.Properties"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PEER = "org.freedesktop.DBus.Peer"
ERROR = "org.freedesktop.DBus.Error."
ITEM_0 = path_of(0)
V = Variant("s", "x")


async def ask(
    link: Connection, path: str, interface: str, member: str, signature: str = "", *body: Any
) -> list[Any]:
    return await link.call((NAME, path, interface), member, signature, body, within=5)


async def test_busctl_shows_names_flags_and_the_tree(bus: PrivateBus) -> None:
    async with served(bus.address, Tree()):
        _, shown = await busctl(bus.address, "introspect", NAME, ITEM_0)
        flags = {line.split()[0]: line.split()[-1] for line in shown.splitlines()[1:]}
        assert flags[".Name"] == "const"
        assert flags[".State"] == "emits-change"
        assert flags[".Tags"] == "emits-invalidation"
        assert flags[".Seen"] == "-"
        _, tree = await busctl(bus.address, "tree", "--list", NAME)
        below = [f"{ITEMS}/i{number}" for number in range(3)]
        assert tree.split() == ["/", "/org", "/org/example", ROOT, ITEMS, *below]
        _, xml = await busctl(bus.address, "introspect", "--xml-interface", NAME, ROOT)
        for name in ("text", "same_value", "object_path", "interfaces_and_properties", "path"):
            assert f'name="{name}"' in xml


async def test_busctl_calls_and_reads(bus: PrivateBus) -> None:
    async with served(bus.address, Tree()):
        call = ("call", NAME, ROOT, MANAGER, "Echo", "sv", "hello", "a{sv}", "1", "k", "u", "7")
        assert (await busctl(bus.address, *call)) == (0, 'sv "hello" a{sv} 1 "k" u 7\n')
        read = ("get-property", NAME, ITEM_0, ITEM, "State")
        assert (await busctl(bus.address, *read)) == (0, 's "running"\n')
        _, answer = await busctl(
            bus.address, "--json=short", "call", NAME, ITEM_0, PROPERTIES, "GetAll", "s", ""
        )
        assert json.loads(answer)["data"][0]["Ports"]["data"][0]["host_port"]["data"] == 80


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ((f"{ITEMS}/none", ITEM, "X"), "UnknownObject"),
        (("/other", PROPERTIES, "GetAll", "s", ""), "UnknownObject"),
        (("/other", "", "Ping"), "UnknownObject"),
        (("/other", INTROSPECTABLE, "Introspect"), "UnknownObject"),
        ((ROOT, "org.example.None", "X"), "UnknownInterface"),
        ((ROOT, MANAGER, "None"), "UnknownMethod"),
        ((ROOT, "", "None"), "UnknownMethod"),
        ((ROOT, MANAGER, "Started"), "UnknownMethod"),
        ((ROOT, MANAGER, "Echo", "s", "x"), "InvalidArgs"),
        ((ROOT, MANAGER, "Echo", "vs", V, "x"), "InvalidArgs"),
        ((ROOT, MANAGER, "Find", "a{sv}", {"x": V}), "InvalidArgs"),
        ((ROOT, PROPERTIES, "Get", "ss", MANAGER, "None"), "UnknownProperty"),
        ((ROOT, PROPERTIES, "Get", "ss", PEER, "None"), "UnknownProperty"),
        ((ROOT, PROPERTIES, "Get", "ss", "none.none", "Version"), "UnknownInterface"),
        ((ROOT, PROPERTIES, "GetAll", "s", "none.none"), "UnknownInterface"),
        ((ROOT, PROPERTIES, "Set", "ssv", MANAGER, "Version", V), "PropertyReadOnly"),
        ((ROOT, PROPERTIES, "Set", "ssv", MANAGER, "None", V), "UnknownProperty"),
        ((ITEMS, PROPERTIES, "GetAll", "s", ""), "UnknownInterface"),
        ((ITEM_0, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"), "UnknownI"),
    ],
)
async def test_wrong_call_is_a_standard_error(
    bus: PrivateBus, call: tuple[Any, ...], error: str
) -> None:
    async with served(bus.address, Tree()), connected(bus.address) as link:
        with pytest.raises(CallError) as raised:
            await ask(link, *call)
        assert raised.value.name.startswith(ERROR + error)


async def test_standard_interfaces_accept_what_the_specification_allows(bus: PrivateBus) -> None:
    async with served(bus.address, Tree()), connected(bus.address) as link:
        assert await ask(link, ROOT, PROPERTIES, "Get", "ss", "", "Version") == ["1"]
        assert await ask(link, ROOT, PROPERTIES, "GetAll", "s", "") == [
            {"Version": "1", "Count": 3}
        ]
        assert await ask(link, ROOT, PROPERTIES, "GetAll", "s", PEER) == [{}]
        assert await ask(link, ROOT, "", "Echo", "sv", "x", V) == ["x", "x"]
        for path in (ROOT, "/nowhere", ITEMS):
            assert await ask(link, path, PEER, "Ping") == []
            first = await ask(link, path, PEER, "GetMachineId")
            assert first == await ask(link, path, PEER, "GetMachineId")
        for path in ("/", "/org", "/org/example", ITEMS):
            assert "<node name=" in (await ask(link, path, INTROSPECTABLE, "Introspect"))[0]
        with pytest.raises(CallError, match="UnknownObject"):
            await ask(link, "/org/exampl", INTROSPECTABLE, "Introspect")


@pytest.mark.parametrize("member", ["Bug", "LateBug", "WrongAnswer"])
async def test_bug_is_logged_and_not_shown_to_the_caller(
    bus: PrivateBus, member: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(bus.address, Tree()), connected(bus.address) as link:
        with pytest.raises(CallError) as raised:
            await ask(link, ROOT, MANAGER, member)
        assert raised.value.name == ERROR + "Failed"
        assert "secret" not in str(raised.value)
        assert "Traceback" not in str(raised.value)
        assert "Traceback" in caplog.text
        assert await ask(link, ROOT, PEER, "Ping") == []


async def test_text_of_an_error_is_printable(bus: PrivateBus) -> None:
    async with served(bus.address, Tree()), connected(bus.address) as link:
        with pytest.raises(CallError, match="Refused: no \\\\x1b") as raised:
            await ask(link, ROOT, MANAGER, "Refuse", "s", "no \x1b[31m")
        assert raised.value.name == "org.example.Root1.Refused"


async def test_call_with_large_arguments_is_refused(bus: PrivateBus) -> None:
    async with served(bus.address, Tree()), connected(bus.address) as link:
        for size in (DEFAULT_LIMITS.arguments, 64 * 1024, 4 * 2**20):
            with pytest.raises(CallError, match="LimitsExceeded"):
                await ask(link, ROOT, MANAGER, "Refuse", "s", "x" * size)


async def test_call_that_wants_no_reply_gets_none(bus: PrivateBus) -> None:
    async with served(bus.address, Tree()), raw_client(bus.address) as client:
        for member in ("Echo", "Bug", "Slow"):
            where = Header(kind=MessageType.CALL, path=ROOT, interface=MANAGER, member=member)
            where.destination, where.flags = NAME, Flag.NO_REPLY_EXPECTED
            await client.send(where)
        last = await client.send(
            Header(
                kind=MessageType.CALL,
                path=ROOT,
                interface=PEER,
                member="Ping",
                destination=NAME,
            )
        )
        while not (message := await client.receive()).header.reply_serial:
            pass  # a signal of the bus
        assert message.header.reply_serial == last


async def test_calls_of_one_sender_are_bounded(bus: PrivateBus) -> None:
    tree, ends = Tree(), []

    async def slow(link: Connection) -> None:
        try:
            ends.append(await ask(link, ROOT, MANAGER, "Slow"))
        except CallError as error:
            ends.append([error.name])

    async with (
        served(bus.address, tree),
        connected(bus.address) as one,
        connected(bus.address) as other,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(DEFAULT_LIMITS.calls_of_a_sender + 4):
            group.create_task(slow(one))
        await asyncio.sleep(0)
        await ask(one, ROOT, PEER, "Ping")
        assert ends == [[ERROR + "LimitsExceeded"]] * 4
        group.create_task(slow(other))
        await asyncio.sleep(0)
        await ask(other, ROOT, PEER, "Ping")
        tree.open.set()
    assert ends.count(["done"]) == DEFAULT_LIMITS.calls_of_a_sender + 1


async def test_flood_of_one_sender_does_not_stop_another(bus: PrivateBus) -> None:
    where = Header(kind=MessageType.CALL, path=ITEM_0, interface=PROPERTIES, member="GetAll")
    where.destination, where.signature = NAME, "s"
    where.flags = Flag.NO_REPLY_EXPECTED  # the bus limits calls that wait for a reply
    async with (
        served(bus.address, Tree()),
        connected(bus.address) as flood,
        connected(bus.address) as calm,
    ):
        for _ in range(5000):
            flood.send(where, marshal("s", ("",)))
        async with stalls() as seen, asyncio.timeout(60):
            for _ in range(200):  # enough work for one stall to be a small part of it
                assert await ask(calm, ITEM_0, PROPERTIES, "Get", "ss", ITEM, "State")
        assert seen.share < 0.2


async def test_large_replies_wait_for_the_bus(bus: PrivateBus) -> None:
    where = Header(kind=MessageType.CALL, path=ITEMS, interface=INTROSPECTABLE, member="Introspect")
    where.destination = NAME
    async with served(bus.address, Tree(5000)) as ours, AsyncExitStack() as floods:
        for _ in range(8):
            flood = await floods.enter_async_context(connected(bus.address))
            for _ in range(120):  # the bus allows 128 pending replies
                flood.send(where)
        calm = await floods.enter_async_context(connected(bus.address))
        async with asyncio.timeout(60):
            assert await ask(calm, ROOT, INTROSPECTABLE, "Introspect")
        assert ours._socket.writer.size < 2 * 2**20
        assert not ours.closed


async def test_nested_variants_are_read_and_written(bus: PrivateBus) -> None:
    deep = V
    for _ in range(30):
        deep = Variant("v", deep)
    async with served(bus.address, Tree()), connected(bus.address) as link:
        assert await ask(link, ROOT, MANAGER, "Echo", "sv", "x", deep) == ["x", "x"]
