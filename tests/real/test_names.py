"""Names that change hands: real units, a real Avahi, and a peer that looks them up."""

import asyncio
from pathlib import Path

from tests.lan import Lan
from tests.real.agents import agent, eventually, on_manager
from tests.real.announced import announcements, settings
from tests.real.test_cli import koi_runtime
from tests.world import World

PLAIN = """\
[Service]
ExecStart=/usr/bin/python3 -m http.server {port}
[X-Koi]
Announce={name}
Type=_http._tcp
"""
UNIT = """\
[Service]
ExecStart=/usr/bin/python3 -m http.server {port} --bind :: --directory {folder}
[X-Koi]
Announce=shop
Type=_http._tcp
HealthPath=/{name}
HealthInterval=1s
"""


async def start(world: World, name: str, port: int) -> Path:
    """Start a unit that is healthy while a file is there; return the file."""
    page = world.home / name
    page.write_text("yes")
    world.unit(f"{name}.service", UNIT.format(name=name, port=port, folder=world.home))
    await on_manager(world, "start", f"{name}.service")
    return page


async def found(lan: Lan, expected: set[tuple[str, int]]) -> None:
    """Wait until the peer finds these services and ports, and no others."""

    async def is_so() -> bool:
        services = await asyncio.to_thread(lan.peer.browse, "_http._tcp")
        return {(one.name, one.port) for one in services} == expected

    await eventually(is_so, f"the peer finds {expected}")


async def status_is(world: World, name: str, status: str) -> None:
    """Wait until the host name of a unit has a status."""

    async def is_so() -> bool:
        return (await announcements(world, name)).get(f"{name}.local") == status

    await eventually(is_so, f"{name}.local is {status}")


async def explanation(world: World, name: str) -> str:
    return (await asyncio.to_thread(koi_runtime, world, "explain", name)).stdout


async def test_a_name_changes_hands_while_the_first_instance_is_unhealthy(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    settings(world, "[Health]\nUnhealthyAfter=1\n")
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        page = await start(world, "blue", 8081)
        await start(world, "green", 8082)
        await found(lan, {("shop", 8081), ("shop #2", 8082)})
        for _ in range(2):
            page.unlink()
            await found(lan, {("shop", 8082)})
            why = "'shop' is green's while blue is unhealthy"
            assert why in await explanation(world, "blue")
            page.write_text("yes")
            await found(lan, {("shop", 8081), ("shop #2", 8082)})
        assert "while" not in await explanation(world, "blue")


async def test_no_instance_gets_the_name_that_avahi_took_after_a_conflict(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    settings(world, "[Runtime]\nBackends=systemd\n")
    with lan.peer.spawn("avahi-publish", "-a", "-R", "box.local", "192.0.2.2") as other:
        try:
            await eventually(lambda: lan.peer.resolve("box.local"), "the peer has the name")
            lan.box.start_avahi()
            async with agent(world, tmp_path):
                for port, name in ((8081, "box-2"), (8082, "wiki")):
                    world.unit(f"{name}.service", PLAIN.format(name=name, port=port))
                    await on_manager(world, "start", f"{name}.service")
                await found(lan, {("box-2", 8081), ("wiki", 8082)})
                await status_is(world, "box-2", "refused")
                await status_is(world, "wiki", "announced")
                await eventually(
                    lambda: lan.peer.resolve("box-2.local") == "192.0.2.1", "it leads to the host"
                )
        finally:
            other.kill()
