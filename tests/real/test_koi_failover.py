"""A real Koi daemon comes and goes beside Avahi, and another host watches a service."""

import asyncio
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.lan import Lan
from tests.real.agents import agent, eventually
from tests.real.announced import announcements, settings, web
from tests.real.koi_daemon import koi_daemon
from tests.real.test_koi_agent import held
from tests.world import World

SETTINGS: Final = "[Capabilities]\nMDNS=koi\nDNS=off\nProxy=off\n"
SERVICE: Final = "web._http._tcp.local"


async def by_koi(world: World) -> None:
    """Wait until the daemon announces the service: it refuses the host name."""
    await has(world, {SERVICE: "announced", "web.local": "refused"})


async def by_avahi(world: World) -> None:
    await has(world, {SERVICE: "announced", "web.local": "announced"})


async def has(world: World, wanted: dict[str, str]) -> None:
    async def is_it() -> bool:
        return await announcements(world) == wanted

    await eventually(is_it, f"{wanted}", seconds=120)


def sees(lan: Lan) -> bool:
    return "web" in {one.name for one in lan.peer.browse("_http._tcp")}


async def test_avahi_takes_over_and_hands_back(world: World, lan: Lan, tmp_path: Path) -> None:
    lan.box.start_avahi()
    settings(world, SETTINGS)
    with koi_daemon(world, tmp_path) as koi:
        koi.start()
        if koi.call("GET", "/v1/mdns/admin/ls").status == 503:
            pytest.skip("a daemon since 1.0.0 has no mDNS beside Avahi")
        async with agent(world, tmp_path):
            await web(world)
            await by_koi(world)
            lan.peer.start_avahi()
            with lan.peer.watching("_http._tcp") as seen, lan.peer.listening() as heard:
                await eventually(lambda: asyncio.to_thread(sees, lan), "the peer sees it")
                for _ in range(2):
                    await asyncio.to_thread(koi.end, signal.SIGKILL)
                    await by_avahi(world)
                    await asyncio.sleep(5)
                    await asyncio.to_thread(koi.start)
                    await by_koi(world)
                    assert held(koi)["mdns"] == [("web", 8080)]
                    await asyncio.sleep(5)
            # The goodbyes of Avahi are followed by an announcement of the daemon within a second.
            assert [one for one in heard if one.is_of(SERVICE) and not one.ttl]
    assert {one for one in seen if "web" in one} == {"+web"}


async def test_avahi_announces_for_a_daemon_without_mdns(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_avahi()
    settings(world, SETTINGS)
    with koi_daemon(world, tmp_path) as koi:
        koi.start("--no-mdns")
        async with agent(world, tmp_path):
            await web(world)
            await by_avahi(world)
            assert koi.call("GET", "/v1/mdns/admin/ls").status == 503
