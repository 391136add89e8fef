"""Units with Restart=, which systemd 252 shows as inactive/dead between two runs."""

import asyncio
from pathlib import Path

import pytest

from tests.real.agents import Observer, agent, eventually, instance, observer, on_manager, published
from tests.world import World

NO_LIMIT = "[Unit]\nStartLimitIntervalSec=0\n"
SLEEP = f"{NO_LIMIT}[Service]\nExecStart=/bin/sleep 1000\n"


def restarted(world: World, unit: str, times: int) -> bool:
    shown = world.systemctl("show", "--property=NRestarts", "--value", unit)
    return int(shown.stdout) >= times


@pytest.mark.parametrize(
    "text",
    [
        "ExecStart=/bin/false\nRestart=always\nRestartSec=0\n",
        "ExecStart=/bin/sleep 0.02\nRestart=always\nRestartSec=0\n",
        "ExecStart=/bin/sh -c 'sleep 0.02; exit 3'\nRestartForceExitStatus=3\nRestartSec=50ms\n",
    ],
    ids=["crashing", "short", "forced"],
)
async def test_a_unit_that_restarts_fast_is_one_run(
    world: World, tmp_path: Path, text: str
) -> None:
    world.unit("loop.service", f"{NO_LIMIT}[Service]\n{text}")
    async with agent(world, tmp_path), observer(world) as seen:
        await on_manager(world, "start", "loop.service")
        await eventually(lambda: restarted(world, "loop.service", 40), "40 restarts")
        # The manager is busy, so its signals come late.
        await eventually(lambda: seen.count("InstanceStarted", "loop.service") == 1, "started")
        assert stops(seen) == 0
        await on_manager(world, "stop", "loop.service")
        await eventually(lambda: stops(seen) == 1, "stopped")
        assert seen.count("InstanceStarted", "loop.service") == 1


def stops(seen: Observer) -> int:
    return seen.count("InstanceStopped", "loop.service")


async def test_a_unit_first_seen_between_two_runs_gets_its_control_group(
    world: World, tmp_path: Path
) -> None:
    mark = tmp_path / "second"
    script = f"test -e {mark} && exec sleep 1000; touch {mark}; exit 1"
    world.unit(
        "flaky.service",
        f'{NO_LIMIT}[Service]\nExecStart=/bin/sh -c "{script}"\nRestart=always\nRestartSec=1\n',
    )
    await on_manager(world, "start", "flaky.service")
    async with agent(world, tmp_path):
        await eventually(lambda: has_group(world, "flaky.service"), "the control group")


async def has_group(world: World, unit: str) -> bool:
    return bool((await instance(world, unit))["ControlGroup"])


@pytest.mark.parametrize("again", ["restart", "kill"])
async def test_a_unit_that_was_restarted_may_freeze(
    world: World, tmp_path: Path, again: str
) -> None:
    world.unit("ice.service", f"{SLEEP}Restart=always\nRestartSec=50ms\n")

    async def is_state(wanted: str) -> bool:
        return (await published(world)).get("ice.service") == wanted

    async with agent(world, tmp_path):
        await on_manager(world, "start", "ice.service")
        await eventually(lambda: is_state("running"), "running")
        await on_manager(world, again, "ice.service")
        if again == "kill":
            await eventually(lambda: restarted(world, "ice.service", 1), "restarted")
        await asyncio.sleep(0.5)
        await eventually(lambda: is_state("running"), "running again")
        await on_manager(world, "freeze", "ice.service")
        await eventually(lambda: is_state("paused"), "paused")
        await on_manager(world, "thaw", "ice.service")
        await eventually(lambda: is_state("running"), "thawed")
