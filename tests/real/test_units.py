"""Real units of a real manager, as a client of the agent sees them."""

import asyncio
from pathlib import Path

from tests.real.agents import (
    agent,
    call,
    drift,
    eventually,
    instance,
    observer,
    on_manager,
    published,
    settle,
    truth,
)
from tests.world import World

SLEEP = "[Service]\nExecStart=/bin/sleep 1000\n"
MANY = 200


def write_many(world: World, count: int = MANY) -> list[str]:
    """Write units of every kind; returns their names."""
    kinds = {
        "plain": SLEEP,
        "failing": "[Service]\nExecStart=/bin/false\n",
        "oneshot": "[Service]\nType=oneshot\nExecStart=/bin/sleep 0.2\n",
        "remaining": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
        "restarting": "[Service]\nExecStart=/bin/sleep 0.3\nRestart=always\nRestartSec=200ms\n"
        "[Unit]\nStartLimitIntervalSec=0\n",
    }
    names = []
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        names.append(f"{kind}-{number}.service")
        world.unit(names[-1], kinds[kind])
    world.unit("templated@.service", SLEEP)
    return [*names, "templated@one.service", "templated@a-b.service"]


async def test_published_instances_are_the_running_units_during_many_changes(
    world: World, tmp_path: Path
) -> None:
    names = write_many(world)
    world.reload()
    async with agent(world, tmp_path), observer(world) as seen:
        await on_manager(world, "start", "--no-block", *names)
        await settle(world)
        await on_manager(world, "restart", "--no-block", *names[::3])
        await on_manager(world, "kill", "--signal=KILL", *names[::10])
        await on_manager(world, "stop", "--no-block", *names[1::4])
        await settle(world)
        await on_manager(world, "stop", *names)
        left = await settle(world)
        assert not left & set(names)
        await eventually(lambda: seen.known == left, "the observer agrees")
        assert seen.unbalanced == []
        assert await drift(world) == 0


async def test_units_that_run_before_the_agent_are_published_when_it_answers(
    world: World, tmp_path: Path
) -> None:
    names = [f"early-{number}.service" for number in range(50)]
    for name in names:
        world.unit(name, SLEEP)
    await on_manager(world, "start", *names)
    async with agent(world, tmp_path):
        assert set(names) <= set(await published(world))
        assert set(await published(world)) == await truth(world)


async def test_a_unit_that_restarts_itself_is_never_stopped(world: World, tmp_path: Path) -> None:
    world.unit(
        "again.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep 0.02\n"
        "Restart=always\nRestartSec=100ms\n",
    )
    async with agent(world, tmp_path), observer(world) as seen:
        await on_manager(world, "start", "again.service")
        await eventually(lambda: restarts(world) >= 50, "50 restarts", seconds=60)
        await eventually(lambda: seen.count("InstanceStarted", "again.service") == 1, "started")
        assert seen.count("InstanceStopped", "again.service") == 0
        await on_manager(world, "stop", "again.service")
        await eventually(lambda: seen.count("InstanceStopped", "again.service") == 1, "stopped")
        assert seen.unbalanced == []


def restarts(world: World) -> int:
    shown = world.systemctl("show", "--property=NRestarts", "--value", "again.service")
    return int(shown.stdout)


async def test_a_restart_by_a_job_is_a_stop_and_a_start(world: World, tmp_path: Path) -> None:
    world.unit("asked.service", f"[Unit]\nStartLimitIntervalSec=0\n{SLEEP}")
    async with agent(world, tmp_path), observer(world) as seen:
        await on_manager(world, "start", "asked.service")
        await eventually(lambda: "asked.service" in seen.known, "started")
        for number in range(1, 6):
            await on_manager(world, "restart", "asked.service")

            def started(wanted: int = number + 1) -> bool:
                return seen.count("InstanceStarted", "asked.service") == wanted

            await eventually(started, f"start {number + 1}")
        assert seen.count("InstanceStopped", "asked.service") == 5
        assert seen.unbalanced == []


async def test_a_unit_that_runs_for_a_moment_has_started_and_stopped(
    world: World, tmp_path: Path
) -> None:
    async with agent(world, tmp_path), observer(world) as seen:
        for number in range(30):
            await asyncio.to_thread(
                world.run, "systemd-run", "--user", f"--unit=moment-{number}", "/bin/true"
            )
        await settle(world)
        names = [f"moment-{number}.service" for number in range(30)]
        await eventually(
            lambda: all(seen.count("InstanceStopped", name) for name in names), "all have ended"
        )
        for name in names:
            assert seen.count("InstanceStarted", name) == 1, name
            assert seen.count("InstanceStopped", name) == 1, name
        assert seen.unbalanced == []


async def test_frozen_units_are_paused(world: World, tmp_path: Path) -> None:
    world.unit("ice.service", SLEEP)
    async with agent(world, tmp_path), observer(world) as seen:
        await on_manager(world, "start", "ice.service")
        await eventually(lambda: "ice.service" in seen.known, "started")

        async def is_state(wanted: str) -> bool:
            return (await published(world)).get("ice.service") == wanted

        for _ in range(3):
            await on_manager(world, "freeze", "ice.service")
            await eventually(lambda: is_state("paused"), "paused")
            await on_manager(world, "thaw", "ice.service")
            await eventually(lambda: is_state("running"), "running")

        assert seen.count("InstanceStopped", "ice.service") == 0


async def test_an_instance_has_the_properties_of_its_unit(world: World, tmp_path: Path) -> None:
    path = world.unit("facts.service", SLEEP)
    async with agent(world, tmp_path):
        await on_manager(world, "start", "facts.service")
        await eventually(lambda: published(world), "published")
        await settle(world)
        shown = await instance(world, "facts.service")
        asked = ("MainPID", "ControlGroup", "InvocationID")
        real = (
            await on_manager(
                world, "show", *(f"--property={name}" for name in asked), "facts.service"
            )
        ).stdout.splitlines()
        assert f"MainPID={shown['MainPID']}" in real
        assert f"ControlGroup={shown['ControlGroup']}" in real
        assert f"InvocationID={bytes(shown['InvocationID']).hex()}" in real
        assert shown["Image"] == str(path)
        assert shown["StateDetail"] == "active/running"
        assert (shown["Name"], shown["Unit"]) == ("facts", "facts.service")
        (found,) = await call(world, "GetInstanceByPID", "u", shown["MainPID"])
        assert found.endswith("/systemd_3afacts_2eservice")
