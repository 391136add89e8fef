"""Avahi's limits are kept: as many connections as it takes, and never too many entries."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.mdns.providers import Avahi
from koi_agent.capabilities.mdns.records import HostName, MdnsRecord, Service
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from tests.bus.fake_avahi import ESTABLISHED, MOST_GROUPS, FakeAvahi
from tests.conftest import open_files
from tests.real.agents import eventually
from tests.world.bus import PrivateBus

UNCOMMITTED, REGISTERING = 0, 1

Reports = dict[Key, Sequence[RecordStatus]]


@pytest.fixture
async def avahi(bus: PrivateBus) -> AsyncIterator[FakeAvahi]:
    async with FakeAvahi(bus.address) as fake:
        yield fake


def key(id_: str) -> Key:
    return Key("docker", id_)


def host(name: str) -> tuple[MdnsRecord, ...]:
    return (HostName(owner=key(name), name=name, addresses=("192.0.2.7",)),)


def web(owner: str, name: str, port: int) -> Service:
    return Service(owner=key(owner), name=name, type="_http._tcp", port=port)


async def put(session: ProviderSession[MdnsRecord], numbers: range) -> None:
    for number in numbers:
        await session.put(key(f"a{number}"), host(f"a{number}"))


async def test_past_a_thousand_groups_there_is_another_connection_and_room_is_used_again(
    bus: PrivateBus, avahi: FakeAvahi
) -> None:
    reports: Reports = {}
    async with Avahi(bus.address).session(reports.__setitem__) as session:
        await put(session, range(1100))
        await eventually(lambda: len(avahi.groups) == 1100, "all are there")
        assert len(avahi.clients) == 2
        assert max(avahi.most.values()) <= MOST_GROUPS
        for number in range(500):
            await session.put(key(f"a{number}"), ())
        await put(session, range(2000, 2900))
        assert len(avahi.groups) == 1500
        assert len(avahi.clients) == 2
        await eventually(
            lambda: (
                {one.state for told in reports.values() for one in told} == {RecordState.ANNOUNCED}
            ),
            "all are announced",
        )


async def test_more_records_than_a_group_has_entries_are_all_announced(
    bus: PrivateBus, avahi: FakeAvahi
) -> None:
    reports: Reports = {}
    services = [web("a", f"s{port}", port) for port in range(1, 41)]
    many = tuple(f"192.0.2.{number}" for number in range(1, 41))
    behind = replace(web("a", "behind", 80), addresses=many)
    async with Avahi(bus.address).session(reports.__setitem__) as session:
        name = HostName(owner=key("a"), name="a", addresses=many)
        await session.put(key("a"), [*services, behind, name])
        await eventually(
            lambda: {one.state for one in reports[key("a")]} == {RecordState.ANNOUNCED},
            "all are announced",
        )
        entries = [entry for entries in avahi.groups.values() for entry in entries]
        assert {e[4] for e in entries if len(e) == 5 and e[3] == "a.local"} == set(many)
        assert {e[4] for e in entries if len(e) == 5 and e[3] != "a.local"} == set(many)
        assert len(avahi.names()) == 41


async def test_this_hosts_own_name_is_refused(bus: PrivateBus, avahi: FakeAvahi) -> None:
    reports: Reports = {}
    async with Avahi(bus.address).session(reports.__setitem__) as session:
        await session.put(key("b"), host("Box"))
        (status,) = reports[key("b")]
        assert (status.state, status.reason) == (
            RecordState.REFUSED,
            "it is this host's own name",
        )
        assert not avahi.groups


async def test_a_subtype_that_can_not_be_costs_nothing_else(
    bus: PrivateBus, avahi: FakeAvahi
) -> None:
    reports: Reports = {}
    service = replace(web("a", "a", 80), subtypes=("_bad", "_good"))
    async with Avahi(bus.address).session(reports.__setitem__) as session:
        await session.put(key("a"), [service])
        await eventually(
            lambda: reports[key("a")][0].state is RecordState.ANNOUNCED, "it is announced"
        )
        assert reports[key("a")][0].reason.startswith("without _bad: ")
        (entries,) = avahi.groups.values()
        assert [entry[-1] for entry in entries[1:]] == ["_good._sub._http._tcp"]


def numbered(number: int) -> str:
    return f"web #{number}" if number > 1 else "web"


async def test_instances_that_take_each_others_names_end_with_those_that_are_planned(
    bus: PrivateBus, avahi: FakeAvahi
) -> None:
    feed = Feed("mdns", Avahi(bus.address), lambda _: None)
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(feed.run())
        numbers = range(1, 31)
        for number in numbers:
            feed.want(key(f"k{number}"), (web(f"k{number}", numbered(number), 80),))
        await eventually(lambda: len(avahi.names()) == 30, "all are there")
        feed.want(key("k1"), ())
        for number in reversed(numbers[1:]):  # all move up, the last first
            feed.want(key(f"k{number}"), (web(f"k{number}", numbered(number - 1), 80),))
        await eventually(lambda: settled(feed, numbers[1:]), "all are as planned", seconds=20)
        assert avahi.names() == {numbered(number) for number in numbers[:-1]}
        feeding.cancel()


def settled(feed: Feed, numbers: range) -> bool:
    shown = {number: feed.status(key(f"k{number}"))[0] for number in numbers}
    return all(
        (one.name, one.state) == (f"{numbered(n - 1)}._http._tcp.local", RecordState.ANNOUNCED)
        for n, one in shown.items()
    )


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (REGISTERING, "avahi-daemon has not registered it in 3 s"),
        (UNCOMMITTED, "avahi-daemon has withdrawn it"),
        (None, "avahi-daemon has lost it: "),
    ],
)
async def test_a_group_that_is_not_established_is_reported_and_made_again_by_another(
    bus: PrivateBus, avahi: FakeAvahi, state: int | None, reason: str
) -> None:
    avahi.stuck = [ESTABLISHED, state]
    feed = Feed("mdns", Avahi(bus.address), lambda _: None)
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(feed.run())
        feed.want(key("a"), (*host("a"), web("a", "web", 80)))
        await eventually(lambda: set(feed_states(feed)) == {"announced", "failed"}, "it fails")
        (failed,) = {one.reason for one in feed.status(key("a")) if one.state == "failed"}
        assert failed.startswith(reason)
        before = set(avahi.groups)
        await eventually(lambda: feed_states(feed) == ["announced"] * 2, "it is made again")
        assert len(avahi.groups) == 2
        assert len(before & set(avahi.groups)) == 1
        feeding.cancel()


def feed_states(feed: Feed) -> list[str]:
    return [str(one.state) for one in feed.status(key("a"))]


async def test_a_record_that_changes_leaves_the_others_and_its_own_addresses_alone(
    bus: PrivateBus, avahi: FakeAvahi
) -> None:
    reports: Reports = {}
    shop, blog = web("a", "shop", 80), web("a", "blog", 81)
    name = HostName(owner=key("a"), name="a", addresses=("192.0.2.7", "2001:db8::7"))
    async with Avahi(bus.address).session(reports.__setitem__) as session:
        await session.put(key("a"), [shop, blog, name])
        before = {path: list(entries) for path, entries in avahi.groups.items()}
        changed = replace(name, addresses=("192.0.2.7", "192.0.2.8"))
        await session.put(key("a"), [replace(shop, port=82), blog, changed])
        kept = {path: avahi.groups[path] for path in before.keys() & avahi.groups.keys()}
        assert sorted(entry[0][3:5] for entry in kept.values()) == [
            ["a.local", "192.0.2.7"],
            ["blog", "_http._tcp"],
        ]
        assert len(avahi.groups) == 4


async def test_the_groups_of_all_records_of_an_instance_are_made_together(
    bus: PrivateBus, avahi: FakeAvahi
) -> None:
    name = HostName(owner=key("a"), name="a", addresses=("192.0.2.7", "2001:db8::7"))
    async with Avahi(bus.address).session(lambda *_: None) as session:
        avahi.asked.clear()
        await session.put(key("a"), [web("a", "shop", 80), web("a", "blog", 81), name])
        assert avahi.asked == [
            *4 * ["EntryGroupNew"],
            *2 * ["AddService"],
            *2 * ["AddAddress"],
            *4 * ["Commit"],
        ]


async def test_a_connection_that_is_lost_ends_the_session_for_its_groups_are_gone(
    bus: PrivateBus, avahi: FakeAvahi
) -> None:
    async with Avahi(bus.address).session(lambda *_: None) as session:
        await put(session, range(1000))
        before = open_files()
        await put(session, range(1000, 1001))
        (second,) = [one for one in open_files() - before if "socket:" in one]
        with socket.socket(fileno=os.dup(int(second.split()[0]))) as end:
            end.shutdown(socket.SHUT_RDWR)
        with pytest.raises(ProviderLost):
            await session.run()
