"""Docker is killed while its containers change at random: no change is lost or made up."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd
from tests.dockerd.engine import EngineFailed
from tests.real.agents import agent, eventually
from tests.real.test_docker import ALWAYS, configure, drift, settle, start, watched
from tests.world import World

STORM = ("start", "stop?t=0", "kill", "kill?signal=HUP", "restart?t=0", "pause", "unpause")


async def storm(docker: Dockerd, ids: Sequence[str], seed: int) -> None:
    """Send random actions to random containers until cancelled. Most are refused."""
    chance = random.Random(seed)
    while True:
        target = f"/containers/{chance.choice(ids)}/{chance.choice(STORM)}"
        with contextlib.suppress(EngineFailed, OSError):  # also while there is no daemon
            await asyncio.to_thread(docker.engine.call, "POST", target)
        await asyncio.sleep(0.01)


@pytest.mark.timeout(300)
async def test_the_daemon_may_be_killed_in_the_middle_of_a_storm(
    world: World, tmp_path: Path
) -> None:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path, "--live-restore") as docker:
        configure(world, docker)
        await survive(world, docker, tmp_path)


async def survive(world: World, lasting: Dockerd, folder: Path) -> None:
    """Kill the daemon six times while containers change, and compare what is known at the end."""
    ids = [*await start(lasting, 15), *await start(lasting, 15, HostConfig=ALWAYS)]
    async with agent(world, folder), watched(world, ids) as seen:
        async with asyncio.TaskGroup() as group:
            storms = [group.create_task(storm(lasting, ids, seed)) for seed in range(3)]
            for _ in range(6):
                await asyncio.sleep(1)
                await asyncio.to_thread(lasting.kill)
                await asyncio.to_thread(lasting.start)
            for task in storms:
                task.cancel()
        left = set(await settle(world, lasting))
        await eventually(lambda: seen.known == left, "the observer agrees")
        assert (seen.unbalanced, await drift(world)) == ([], 0)
