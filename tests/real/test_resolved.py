"""A real systemd-resolved announces services on a host without Avahi."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.mdns.providers import Resolved
from koi_agent.capabilities.mdns.records import Service
from koi_agent.core.instance import RecordState
from koi_agent.core.key import Key
from tests.bus.far_ends import far_end
from tests.conftest import require
from tests.lan import Lan, resolved
from tests.real.agents import agent, eventually, instance, on_manager
from tests.real.announced import announced, announcements, waits, web
from tests.world import World


@pytest.fixture(autouse=True)
def needs_resolved() -> None:
    if reason := resolved.missing():
        require("resolved", reason)


async def records(world: World) -> list[dict[str, Any]]:
    return list((await instance(world, "web.service"))["Announcements"])


async def standings(world: World) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["status"], one["provider"]) for one in await records(world)}


async def settled(world: World) -> bool:
    return "announced" in (await announcements(world)).values()


def services(lan: Lan) -> set[str]:
    """Return the services that a peer finds, with their ports."""
    return {f"{one.name} {one.port} {one.txt}" for one in lan.peer.browse("_http._tcp")}


async def test_services_are_announced_and_host_names_are_refused_with_the_reason(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_resolved()
    async with agent(world, tmp_path):
        await web(world)
        await eventually(lambda: settled(world), "it is announced")
        assert await standings(world) == {
            "web._http._tcp.local": ("announced", "resolved"),
            "web.local": ("refused", "resolved"),
        }
        await eventually(lambda: 'web 8080 "path=/"' in services(lan), "the peer finds it")
        await on_manager(world, "stop", "web.service")
        await eventually(lambda: not services(lan), "it is gone")


async def test_a_resolved_that_restarts_gets_all_records(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_resolved()
    async with agent(world, tmp_path):
        await web(world)
        await eventually(lambda: settled(world), "it is announced")
        await asyncio.to_thread(lan.box.end, "resolved")
        await eventually(lambda: waits(world), "it waits")
        lan.box.start_resolved()
        await eventually(lambda: settled(world), "it is announced again")


async def test_what_a_killed_agent_left_is_cleared_and_an_end_leaves_nothing(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_resolved()
    async with agent(world, tmp_path) as running:
        await web(world)
        await eventually(lambda: settled(world), "it is announced")
        await running.kill()
    assert len(registered(lan)) == 1
    async with agent(world, tmp_path):
        await eventually(lambda: settled(world), "it is announced")
        assert len(registered(lan)) == 1
    assert registered(lan) == []


async def test_records_of_a_killed_agent_are_removed_without_new_requests(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_resolved()
    async with agent(world, tmp_path) as running:
        await web(world)
        await eventually(lambda: settled(world), "it is announced")
        await running.kill()
    await on_manager(world, "stop", "web.service")
    assert len(registered(lan)) == 1
    async with agent(world, tmp_path):
        await eventually(lambda: not registered(lan), "it is cleared")


async def test_services_are_registered_again_after_a_lost_connection(
    lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_resolved()
    bus = Path(f"/proc/{lan.box.pid}/root/run/dbus/system_bus_socket")
    clients: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)
        bus_reader, bus_writer = await asyncio.open_unix_connection(bus)
        async with asyncio.TaskGroup() as group:
            group.create_task(copied(reader, bus_writer))
            group.create_task(copied(bus_reader, writer))

    service = Service(owner=Key("docker", "a"), name="web", type="_http._tcp", port=80)
    async with far_end(tmp_path, relay) as address, asyncio.TaskGroup() as group:
        feed = Feed("mdns", Resolved(address), lambda _: None)
        feeding = group.create_task(feed.run())
        feed.want(service.owner, (service,))
        for _ in range(3):
            await eventually(lambda: is_announced(feed, service), "it is announced")
            assert len(registered(lan)) == 1
            while clients:
                clients.pop().transport.abort()
            await eventually(lambda: not is_announced(feed, service), "the loss is noticed")
        await eventually(lambda: is_announced(feed, service), "it is announced")
        feeding.cancel()


async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy what is read until one end closes its connection."""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


def is_announced(feed: Feed, service: Service) -> bool:
    return {one.state for one in feed.status(service.owner)} == {RecordState.ANNOUNCED}


def registered(lan: Lan) -> list[str]:
    """Return the services of resolved, by their objects."""
    path = "/org/freedesktop/resolve1/dnssd"
    listed = lan.box.run("busctl", "--system", "tree", "--list", "org.freedesktop.resolve1")
    return [line for line in listed.split() if line.startswith(f"{path}/")]


async def test_avahi_has_the_first_say_when_it_comes(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_resolved()
    async with agent(world, tmp_path):
        await web(world)
        await eventually(lambda: settled(world), "it is announced")
        await asyncio.to_thread(lan.box.start_avahi)
        assert set(await announced(world)) == {"web._http._tcp.local", "web.local"}
        assert {provider for _, provider in (await standings(world)).values()} == {"avahi"}
        assert registered(lan) == []
        since = {one["since"] for one in await records(world)}
        await asyncio.to_thread(lan.box.end, "resolved")
        lan.box.start_resolved()  # which is nobody's business while Avahi is there
        await asyncio.sleep(1)
        assert {one["since"] for one in await records(world)} == since


async def test_a_peer_finds_it_by_resolvectl(world: World, lan: Lan, tmp_path: Path) -> None:
    lan.box.start_resolved()
    lan.peer.end("avahi")
    lan.peer.start_resolved()
    question = ("-p", "mdns", "service", "web", "_http._tcp", "local")

    def said() -> bool:
        text = lan.peer.run(*resolved.command("resolvectl"), *question)
        return all(part in text for part in (":8080", "192.0.2.1", "path=/"))

    async with agent(world, tmp_path):
        await web(world)
        await eventually(said, "the peer finds it")


async def test_a_link_without_mdns_is_reported_and_used_once_it_has_mdns(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_resolved()
    lan.box.run(*resolved.command("resolvectl"), "mdns", "lan0", "no")
    async with agent(world, tmp_path):
        await web(world)
        await eventually(lambda: failed(world), "it is not announced")
        (reason, *_) = [one["reason"] for one in await records(world)]
        assert "mDNS is enabled on no link" in reason
        lan.box.run(*resolved.command("resolvectl"), "mdns", "lan0", "yes")
        await eventually(lambda: settled(world), "it is announced")


async def failed(world: World) -> bool:
    return "failed" in (await announcements(world)).values()
