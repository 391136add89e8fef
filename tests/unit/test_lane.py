"""A lane plans for one capability and feeds several providers, which may come and go."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Never

from koi_agent.announce.lane import Lane
from koi_agent.capabilities.mdns.rules import MdnsRules
from koi_agent.config import Config
from koi_agent.config.sections import CapabilitiesConfig
from koi_agent.core.contracts import Capability, Provider, Report
from koi_agent.core.instance import (
    EnabledBy,
    Health,
    KoiMetadata,
    PortMapping,
    PortSource,
    Protocol,
    RecordState,
    RecordStatus,
)
from koi_agent.core.key import Key
from koi_agent.core.plan.records import Record
from koi_agent.core.plan.requests import Policy
from tests.unit.things import container
from tests.unit.virtual_time import run

PORT = PortMapping(
    container_port=80,
    host_port=80,
    protocol=Protocol.TCP,
    host_ip="0.0.0.0",
    source=PortSource.PUBLISHED,
)
WEB = replace(
    container("web"),
    metadata=KoiMetadata(enable=True, enabled_by=EnabledBy.EXPLICIT),
    ports=(PORT,),
)
POLICY = Policy(host_names=frozenset({"box"}))
NAMES = {"web._http._tcp.local", "web.local"}


@dataclass
class Server:
    """The far end of a provider: its records, and the sessions opened with it."""

    name: str
    records: dict[Key, tuple[Record, ...]] = field(default_factory=dict)
    sessions: int = 0
    clashes: list[str] = field(default_factory=list)
    """Names that an owner got while another one had them."""

    @property
    def titles(self) -> set[str]:
        return {record.title for records in self.records.values() for record in records}


@dataclass(frozen=True)
class Outlet:
    """A provider that publishes on a server; ``number`` makes it another provider."""

    server: Server = field(compare=False)
    number: int = 0
    absence = "the server is absent"

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator["OutletSession"]:
        self.server.sessions += 1
        try:
            yield OutletSession(self.server, report)
        finally:
            self.server.records.clear()


class OutletSession:
    """A session with a server."""

    def __init__(self, server: Server, report: Report) -> None:
        self._server = server
        self._report = report

    async def put(self, owner: Key, records: Sequence[Record]) -> None:
        self._server.records.pop(owner, None)
        self._server.clashes += [r.title for r in records if r.title in self._server.titles]
        self._server.records[owner] = tuple(records)
        done, name = RecordState.ANNOUNCED, self._server.name
        self._report(
            owner, [RecordStatus(name=r.title, state=done, provider=name) for r in records]
        )

    async def run(self) -> Never:
        await asyncio.Event().wait()
        raise AssertionError("a session runs until it is cancelled")


class World:
    """A lane with two servers; the configuration chooses the outlets by ``MDNS=``."""

    def __init__(self) -> None:
        self.servers = {name: Server(name) for name in ("one", "two")}
        self.changed: list[Key] = []
        capability = Capability(
            name="test", rules=lambda policy, _: MdnsRules(policy), providers=self._providers
        )
        self.lane = Lane(capability, config("one,two"), POLICY, lambda _: None, self.changed.append)

    def _providers(self, config: Config, _apply: object) -> Mapping[str, Provider[Any]]:
        chosen = [word for word in config.capabilities.mdns.split(",") if word != "off"]
        return {
            word.rstrip("!"): Outlet(self.servers[word.rstrip("!")], word.count("!"))
            for word in chosen
        }

    def put(self) -> None:
        self.lane.put(WEB)
        self.lane.settle()
        self.lane.feed(WEB.key, visible=True)

    def status(self) -> set[tuple[str, str, str]]:
        return {(one.name, one.state, one.provider) for one in self.lane.status(WEB.key)}


def config(outlets: str) -> Config:
    return Config(scope="user", capabilities=CapabilitiesConfig(mdns=outlets))


def running(test: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        world = World()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(world.lane.run())
            await asyncio.sleep(0)
            await test(world)
            task.cancel()
        assert not any(server.records for server in world.servers.values())

    run(whole())


def test_all_providers_of_a_capability_get_the_records() -> None:
    async def test(world: World) -> None:
        world.put()
        await asyncio.sleep(1)
        assert [server.titles for server in world.servers.values()] == [NAMES, NAMES]
        assert world.status() == {
            (name, "announced", server) for name in NAMES for server in ("one", "two")
        }
        assert WEB.key in world.changed

    running(test)


def test_status_carries_the_capability() -> None:
    async def test(world: World) -> None:
        world.put()
        await asyncio.sleep(1)
        assert {one.capability for one in world.lane.status(WEB.key)} == {"test"}
        assert {one.capability for one in world.lane.decisions(WEB.key)} == {"test"}

    running(test)


def test_removed_provider_withdraws_and_an_equal_one_is_not_disturbed() -> None:
    async def test(world: World) -> None:
        world.put()
        await asyncio.sleep(1)
        assert world.lane.set_providers(config("one")) == []
        await asyncio.sleep(1)
        assert [server.titles for server in world.servers.values()] == [NAMES, set()]
        assert world.servers["one"].sessions == 1

    running(test)


def test_added_provider_gets_the_records_with_the_next_feed() -> None:
    async def test(world: World) -> None:
        world.lane.set_providers(config("one"))
        world.put()
        await asyncio.sleep(1)
        assert world.lane.set_providers(config("one,two")) == ["two"]
        world.lane.feed(WEB.key, visible=True)
        await asyncio.sleep(1)
        assert world.servers["two"].titles == NAMES

    running(test)


def test_changed_provider_is_connected_to_again() -> None:
    async def test(world: World) -> None:
        world.put()
        await asyncio.sleep(1)
        world.lane.set_providers(config("one!,two"))
        await asyncio.sleep(1)
        assert [server.sessions for server in world.servers.values()] == [2, 1]
        assert world.servers["one"].titles == NAMES

    running(test)


def test_without_a_provider_records_are_held() -> None:
    async def test(world: World) -> None:
        world.put()
        world.lane.set_providers(config("off"))
        assert world.status() == {(name, "held", "") for name in NAMES}

    running(test)


def test_record_of_an_instance_between_stop_and_start_stays() -> None:
    async def test(world: World) -> None:
        world.put()
        await asyncio.sleep(1)
        world.lane.interrupt(WEB.key)
        world.lane.feed(WEB.key, visible=False)
        await asyncio.sleep(1)
        assert world.servers["one"].titles == NAMES

    running(test)


def test_a_name_is_given_up_before_another_instance_gets_it() -> None:
    async def test(world: World) -> None:
        four = [replace(WEB, id=f"i{number}", created_at=number) for number in range(4)]
        for instance in four:
            world.lane.put(instance)
        feed(world, world.lane.settle())
        await asyncio.sleep(1)
        sick = replace(four[0], health=Health.UNHEALTHY)
        for first in (sick, four[0], sick, four[0]):
            world.lane.put(first)
            feed(world, world.lane.settle())
            await asyncio.sleep(1)
        assert "web._http._tcp.local" in world.servers["one"].titles
        assert world.servers["one"].clashes == []

    running(test)


def test_instances_may_exchange_their_names() -> None:
    async def test(world: World) -> None:
        one, two = (replace(WEB, id=name, name=name) for name in ("one", "two"))
        for first, second in ((one, two), (two, one)):
            world.lane.put(replace(first, id="1"))
            world.lane.put(replace(second, id="2"))
            feed(world, world.lane.settle())
            await asyncio.sleep(1)
        assert len(world.servers["one"].titles) == 4

    running(test)


def feed(world: World, keys: Sequence[Key]) -> None:
    for key in keys:
        world.lane.feed(key, visible=True)
