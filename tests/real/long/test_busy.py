"""Life cycles while all CPUs are busy: no order of events depends on how fast the agent is."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd
from tests.real.agents import Observer, agent, eventually, observer, on_manager
from tests.real.test_dead_containers import Follower, containerd_stopped, kill_processes, run
from tests.real.test_started_by_socket import start_many_times
from tests.world import World

RUNS = 20
RESTARTS = 40


@contextlib.contextmanager
def all_cpus_busy() -> Iterator[None]:
    """Keep each CPU busy with a process of normal priority."""
    with contextlib.ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            loop = stack.enter_context(subprocess.Popen(["sh", "-c", "while :; do :; done"]))
            stack.callback(loop.kill)
        yield


async def test_restarts_are_one_run(world: World, tmp_path: Path) -> None:
    """The kind: units that fail at once, that end well, and that run for a moment."""
    kinds = {
        "fails.service": "Restart=always\nExecStart=/bin/false\n",
        "ends.service": "Restart=always\nExecStart=/bin/true\n",
        "lasts.service": "Restart=on-failure\nExecStart=/bin/sh -c 'sleep 0.02; exit 1'\n",
    }
    for name, text in kinds.items():
        world.unit(name, f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=0\n{text}")
    async with agent(world, tmp_path), observer(world) as seen:
        with all_cpus_busy():
            for number in range(RUNS):
                await restart_many_times(world, seen, list(kinds)[number % len(kinds)])
        for kind, name in enumerate(kinds):
            runs = len(range(kind, RUNS, len(kinds)))
            assert seen.count("InstanceStarted", name) == runs, name
            assert seen.count("InstanceStopped", name) == runs, name
        assert seen.unbalanced == []


async def test_request_that_starts_the_agent_is_answered_with_data(world: World) -> None:
    with all_cpus_busy():
        await start_many_times(world, RUNS, without_bus=True)


async def test_containers_without_a_process_are_gone(tmp_path: Path) -> None:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as docker, contextlib.closing(Follower(docker)) as follower:
        with all_cpus_busy():
            ids = [await run(follower) for _ in range(RUNS)]
            with containerd_stopped(docker):
                for id_ in ids:
                    kill_processes(follower, id_)
                for id_ in ids:
                    await eventually(partial(follower.has_stopped, id_), "stopped")
        assert sum(map(len, map(follower.reasons, ids))) == RUNS


async def restart_many_times(world: World, seen: Observer, name: str) -> None:
    """Start a unit, let it restart, and stop it; systemd 252 may go on counting restarts."""
    last = restarts(world, name) + RESTARTS
    await on_manager(world, "start", name)
    await eventually(lambda: name in seen.known, "started")
    await eventually(lambda: restarts(world, name) >= last, f"{RESTARTS} restarts")
    await on_manager(world, "stop", name)
    await eventually(lambda: name not in seen.known, "stopped")


def restarts(world: World, name: str) -> int:
    return int(world.systemctl("show", "--property=NRestarts", "--value", name).stdout)
