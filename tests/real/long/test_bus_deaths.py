"""The bus dies again and again: nothing is lost, and nothing stays open."""

import asyncio
from pathlib import Path

from koi_agent.bus.client import connected
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT
from tests.real.agents import agent, drift, eventually, on_manager, published, running, truth
from tests.world import World


async def test_the_bus_may_be_killed_any_number_of_times(world: World, tmp_path: Path) -> None:
    names = await running(world, 50)
    async with agent(world, tmp_path) as running_agent:
        files = open_files(running_agent.process.pid)
        for number in range(20):
            await asyncio.to_thread(world.kill_bus)
            await on_manager(world, "stop", names[number])
            await eventually(lambda: agrees(world), "back, and true")
        assert set(await published(world)) >= set(names[20:])
        pid = running_agent.process.pid
        await eventually(lambda: open_files(pid) <= files, "no file is left open")
        assert await drift(world) == 0


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def agrees(world: World) -> bool:
    try:
        async with connected(world.bus_address) as link:
            (rows,) = await link.call((NAME, ROOT, MANAGER), "ListInstances")
    except Exception:  # noqa: BLE001 - whatever it is, not yet
        return False
    return {row[0] for row in rows} == await truth(world)
