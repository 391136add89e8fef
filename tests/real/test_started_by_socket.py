"""The request that starts the agent is answered with data, as soon as anything can be."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.real.agents import SLEEP, eventually, on_manager
from tests.world import World

RUNS = 3
SOCKET = "%t/koi-runtime/http.sock"


def write_units(world: World) -> None:
    """Write the agent's service and socket, and a unit that it must report."""
    variables = "".join(f'Environment="{k}={v}"\n' for k, v in world.environment.items())
    world.unit("started.service", SLEEP)
    world.unit("koi.socket", f"[Socket]\nListenStream={SOCKET}\nFileDescriptorName=http\n")
    world.unit(
        "koi.service",
        f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nNotifyAccess=main\n{variables}"
        f"ExecStart={sys.executable} -m koi_agent run --user\n",
    )
    world.reload()


async def first_answer(world: World) -> dict[str, object]:
    """Start the agent by a request; returns the answer."""
    argv = ("curl", "-sS", "--unix-socket", "/run/user/0/koi-runtime/http.sock")
    asked = await asyncio.to_thread(world.run, *argv, "http://localhost/v1/runtime/status")
    answer: dict[str, object] = json.loads(asked.stdout)
    return answer


async def start_many_times(world: World, runs: int, *, without_bus: bool) -> None:
    """Start the agent by a request, with the manager on the bus or connecting to it."""
    write_units(world)
    if without_bus:
        # The manager connects to the bus once the service is active; clients are served before.
        world.drop_in("dbus.service", "late.conf", "[Service]\nExecStartPost=/bin/sleep 1\n")
        world.reload()
    await on_manager(world, "start", "koi.socket", "started.service")
    for _ in range(runs):
        if without_bus:
            await on_manager(world, "stop", "dbus.service")
        answer = await first_answer(world)
        assert answer["active"], answer
        assert answer["backend"] == "systemd"
        assert isinstance(answer["instance_count"], int)
        assert answer["instance_count"] >= 1
        await on_manager(world, "stop", "koi.service")
    await on_manager(world, "stop", "koi.socket")


@pytest.mark.parametrize("without_bus", [False, True], ids=["on the bus", "connecting"])
async def test_request_that_starts_the_agent_is_answered_with_data(
    world: World, *, without_bus: bool
) -> None:
    await start_many_times(world, RUNS, without_bus=without_bus)


async def test_agent_that_systemd_has_not_started_does_not_wait_for_it(
    world: World, tmp_path: Path
) -> None:
    """A bus without systemd: only an agent that was started by hand begins without its data."""
    bus = f"unix:path={world.home}/lonely"
    log_file = tmp_path / "agent.log"
    daemon = world.spawn("dbus-daemon", "--session", f"--address={bus}", "--nofork")
    with log_file.open("w") as log:
        agent = world.spawn(
            *(sys.executable, "-m", "koi_agent", "run", "--user"),
            env={"DBUS_SESSION_BUS_ADDRESS": bus},
            stderr=log,
        )
    try:
        await eventually(lambda: "ready" in log_file.read_text(), "ready")
        assert "not listed yet" not in log_file.read_text()
    finally:
        for process in (agent, daemon):
            process.terminate()
            await asyncio.to_thread(process.wait, 60)
