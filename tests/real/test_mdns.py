"""Instances that opt in are found by another host on the network, through a real Avahi."""

import asyncio
import re
from pathlib import Path

from tests.lan import Lan
from tests.real.agents import agent, call, eventually, instance, on_manager
from tests.real.announced import (
    WEB,
    announced,
    announcements,
    finds,
    resolves,
    settings,
    waits,
    web,
)
from tests.world import World

GAME = """\
import socket
from http.server import SimpleHTTPRequestHandler, test
game = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
game.bind(("::", 9999))
test(SimpleHTTPRequestHandler, port=8080, bind="::")
"""


async def test_a_unit_is_found_and_resolved_by_a_peer(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        await web(world)
        assert set(await announced(world)) == {"web._http._tcp.local", "web.local"}
        await resolves(lan, "web.local", "192.0.2.1")
        await resolves(lan, "web.local", "2001:db8::1", "-6")
        await eventually(
            lambda: (
                {(one.name, one.host, one.port, one.txt) for one in lan.peer.browse("_http._tcp")}
                == {("web", "box.local", 8080, '"path=/"')}
            ),
            "the peer finds it",
        )
        await on_manager(world, "stop", "web.service")
        await eventually(lambda: not lan.peer.browse("_http._tcp"), "it is gone")
        assert await asyncio.to_thread(lan.peer.resolve, "web.local") == ""


async def test_an_avahi_that_starts_late_and_restarts_gets_all_records(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    async with agent(world, tmp_path) as running:
        await web(world)
        await eventually(lambda: waits(world), "it waits")
        (reason,) = {
            one["reason"] for one in (await instance(world, "web.service"))["Announcements"]
        }
        assert reason.startswith("avahi-daemon does not run")
        for how in ("kill", "terminate"):
            lan.box.start_avahi()
            await announced(world)
            await resolves(lan, "web.local", "192.0.2.1")
            await asyncio.to_thread(lan.box.end, "avahi", how=how)
            await eventually(lambda: waits(world), "it waits again")
        assert "can't announce" not in running.log()


async def test_a_restart_within_the_grace_says_no_goodbye(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    settings(world, "[Runtime]\nRestartGrace=60s\n")
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        await web(world)
        await announced(world)
        with lan.peer.watching("_http._tcp") as seen:
            await on_manager(world, "restart", "web.service")
            await asyncio.sleep(6)
        assert {mark[0] for mark in seen} == {"+"}, seen
        await announced(world)


async def test_nothing_stays_when_the_agent_is_killed(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_avahi()
    async with agent(world, tmp_path) as running:
        await web(world)
        await announced(world)
        await running.kill()
        await eventually(lambda: not lan.peer.browse("_http._tcp"), "it is gone")
        assert await asyncio.to_thread(lan.peer.resolve, "web.local") == ""


async def test_a_name_that_a_peer_has_is_left_to_it(world: World, lan: Lan, tmp_path: Path) -> None:
    lan.box.start_avahi()
    with lan.peer.spawn("avahi-publish", "-s", "web", "_http._tcp", "80") as publisher:
        try:
            await eventually(lambda: lan.box.browse("_http._tcp"), "the peer has published")
            async with agent(world, tmp_path) as running:
                await web(world)
                assert set(await announced(world)) == {"web #2._http._tcp.local", "web.local"}
                await finds(lan, "_http._tcp", ("web", 80), ("web #2", 8080))
                assert "'web' belongs to another host" in running.log()
        finally:
            publisher.terminate()


async def test_a_host_name_that_a_peer_has_is_left_to_it(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_avahi()
    with lan.peer.spawn("avahi-publish", "-R", "-a", "web.local", "192.0.2.2") as publisher:
        try:
            await eventually(lambda: lan.box.resolve("web.local"), "the peer has published")
            async with agent(world, tmp_path):
                await web(world)
                assert set(await announced(world)) == {"web._http._tcp.local", "web-2.local"}
                await resolves(lan, "web-2.local", "192.0.2.1")
        finally:
            publisher.terminate()


async def test_a_name_that_this_host_has_already_is_left_to_it(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_avahi()
    with lan.box.spawn("avahi-publish", "-s", "web", "_http._tcp", "80") as publisher:
        try:
            await eventually(lambda: lan.peer.browse("_http._tcp"), "it has published")
            async with agent(world, tmp_path):
                await web(world)
                assert set(await announced(world)) == {"web #2._http._tcp.local", "web.local"}
        finally:
            publisher.terminate()


async def test_subtypes_and_udp_are_found(world: World, lan: Lan, tmp_path: Path) -> None:
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        server = world.home / "server.py"
        server.write_text(GAME)
        command = f"ExecStart=/usr/bin/python3 {server}"
        text = re.sub("ExecStart=.*", command, WEB)
        more = "Subtypes=_printer, _other\nPort-9999-udp-Type=_game._udp\n"
        await web(world, text=text, more=more)
        await announced(world)
        for type_, port in (("_printer._sub._http._tcp", 8080), ("_game._udp", 9999)):
            await finds(lan, type_, ("web", port))


async def test_two_that_want_one_name_are_ranked_and_the_second_takes_over(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        text = WEB.replace("Name={name}", "Name=shop")
        await web(world, "b", 8081, text)
        assert set(await announced(world, "b")) == {"shop._http._tcp.local", "shop.local"}
        await web(world, "a", 8080, text)
        assert set(await announced(world, "a")) == {"shop._http._tcp.local", "shop.local"}

        async def has_made_way() -> bool:
            known = await announcements(world, "b")
            return known.get("shop #2._http._tcp.local") == "announced"

        await eventually(has_made_way, "b has made way")
        assert (await announcements(world, "b"))["host name"] == "refused"
        await on_manager(world, "stop", "a.service")
        await eventually(lambda: has_the_name(world), "b takes over")
        await finds(lan, "_http._tcp", ("shop", 8081))


async def has_the_name(world: World) -> bool:
    known = await announcements(world, "b")
    return known == {"shop._http._tcp.local": "announced", "shop.local": "announced"}


async def test_a_restarted_agent_announces_again(world: World, lan: Lan, tmp_path: Path) -> None:
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        await web(world)
        await announced(world)
    async with agent(world, tmp_path):
        await eventually(lambda: lan.peer.resolve("web.local"), "it is there again")


BAD = """\
[X-Koi]
Name=a.b
Txt-big={long}
Txt-good=yes
HealthKind=icmp
Port=0
"""


async def test_unusable_metadata_is_reported_and_the_rest_is_used(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_avahi()
    async with agent(world, tmp_path) as running:
        await web(world, more=BAD.format(long=300 * "x"))

        async def rest() -> bool:
            return (await announcements(world)) == {
                "web._http._tcp.local": "announced",
                "port 8080/tcp, name": "refused",
                "host name": "refused",
            }

        await eventually(rest, "the rest is announced")
        await eventually(
            lambda: (
                [sorted(one.txt.split()) for one in lan.peer.browse("_http._tcp")][:1]
                == [['"good=yes"', '"path=/"']]
            ),
            "the peer finds the text",
        )
        (explained,) = await call(world, "Explain", "s", "web.service")
        for told in (running.log(), explained):
            for key in ("Txt-big", "HealthKind", "Port", "name"):
                assert key in told


async def test_a_reload_turns_it_off_and_on(world: World, lan: Lan, tmp_path: Path) -> None:
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        await web(world)
        await announced(world)
        settings(world, "[Capabilities]\nMDNS=off\n")
        await call(world, "Reload")
        await eventually(lambda: not lan.peer.resolve("web.local"), "it is withdrawn")
        assert set((await announcements(world)).values()) == {"held"}
        settings(world, "[Capabilities]\nMDNS=avahi\n")
        await call(world, "Reload")
        await announced(world)


async def test_text_is_changed_in_place(world: World, lan: Lan, tmp_path: Path) -> None:
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        await web(world)
        await announced(world)
        with lan.peer.watching("_http._tcp") as seen:
            world.drop_in("web.service", "text.conf", "[X-Koi]\nTxt-path=/other\n")
            await asyncio.to_thread(world.reload)
            await eventually(
                lambda: {one.txt for one in lan.peer.browse("_http._tcp")} == {'"path=/other"'},
                "the peer sees the new text",
            )
        assert {mark[0] for mark in seen} == {"+"}, seen
        await announced(world)
