"""daemon-reload, daemon-reexec and a stopped bus: no change is lost or made up."""

import asyncio
from pathlib import Path

from koi_agent.bus.client import connected
from koi_agent.core.dbus_names import NAME
from tests.real.agents import (
    agent,
    drift,
    eventually,
    observer,
    on_manager,
    running,
    settle,
)
from tests.world import World


async def test_reloads_stop_nothing(world: World, tmp_path: Path) -> None:
    names = await running(world, 100)
    async with agent(world, tmp_path), observer(world) as seen:
        for _ in range(10):
            await on_manager(world, "daemon-reload")
        assert await settle(world) >= set(names)
        assert [event for event in seen.events if event[0] != "InstanceUpdated"] == []
        assert await drift(world) == 0


async def test_units_that_change_while_systemd_reloads_are_seen(
    world: World, tmp_path: Path
) -> None:
    names = await running(world, 50)
    async with agent(world, tmp_path), observer(world) as seen:
        for number in range(5):
            mine = names[number * 10 : number * 10 + 10]
            await asyncio.gather(  # noqa: TID251 - the storm is the point
                on_manager(world, "daemon-reload"),
                on_manager(world, "stop", *mine),
                on_manager(world, "daemon-reload"),
            )
        left = await settle(world)
        assert not left & set(names)
        await eventually(lambda: seen.known == left, "the observer agrees")
        assert seen.unbalanced == []
        assert await drift(world) == 0


async def test_daemon_reexec_loses_nothing(world: World, tmp_path: Path) -> None:
    names = await running(world, 50)
    async with agent(world, tmp_path):
        for _ in range(3):
            await on_manager(world, "daemon-reexec")
            await on_manager(world, "restart", names[0])
            assert await settle(world) >= set(names)
        await on_manager(world, "stop", *names)
        assert not await settle(world) & set(names)
        assert await drift(world) == 0


async def test_a_bus_that_stops_for_a_while_loses_nothing(world: World, tmp_path: Path) -> None:
    names = await running(world, 10)
    async with agent(world, tmp_path), observer(world) as seen:
        world.stop_bus_process()
        await on_manager(world, "stop", *names)
        await asyncio.sleep(1)
        world.continue_bus_process()
        left = await settle(world)
        await eventually(lambda: seen.known == left, "the observer agrees")
        assert seen.unbalanced == []


ELSEWHERE = {"XDG_RUNTIME_DIR": "/run"}
"""The runtime directory of the other agent, whose HTTP socket is not that of the first."""


async def test_a_second_agent_on_one_bus_gives_up(world: World, tmp_path: Path) -> None:
    async with agent(world, tmp_path):
        process = await asyncio.to_thread(
            world.run, "python", "-m", "koi_agent", "run", "--user", check=False, env=ELSEWHERE
        )
        assert process.returncode == 75
        assert "owned by another process" in process.stderr


async def test_the_number_of_match_rules_does_not_grow(world: World, tmp_path: Path) -> None:
    await running(world, 100)
    async with agent(world, tmp_path), connected(world.bus_address) as link:
        stats = (
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.Debug.Stats",
        )
        (values,) = await link.call(stats, "GetConnectionStats", "s", (NAME,))
        assert 0 < values["MatchRules"] <= 8
