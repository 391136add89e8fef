"""systemd reloads and executes itself again, the bus dies: nothing is lost, nothing made up."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from koi_agent.backends.systemd import Systemd
from koi_agent.bus.client import Bus, connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.config import SystemdConfig
from koi_agent.core.api import MANAGER, NAME, ROOT
from koi_agent.core.changes import BackendState
from koi_agent.core.registry import Registry
from koi_agent.follow import Follower
from koi_agent.host.census import Census
from tests.real.agents import (
    agent,
    drift,
    eventually,
    observer,
    on_manager,
    published,
    settle,
    truth,
)
from tests.world import World

SLEEP = "[Service]\nExecStart=/bin/sleep 1000\n"
SYSTEMD = "org.freedesktop.systemd1"


async def running(world: World, count: int) -> list[str]:
    names = [f"steady-{number}.service" for number in range(count)]
    for name in names:
        world.unit(name, SLEEP)
    await on_manager(world, "start", *names)
    return names


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


async def test_systemd_may_execute_itself_again(world: World, tmp_path: Path) -> None:
    names = await running(world, 50)
    async with agent(world, tmp_path):
        for _ in range(3):
            await on_manager(world, "daemon-reexec")
            await on_manager(world, "restart", names[0])
            assert await settle(world) >= set(names)
        await on_manager(world, "stop", *names)
        assert not await settle(world) & set(names)
        assert await drift(world) == 0


async def test_the_bus_may_be_killed_any_number_of_times(world: World, tmp_path: Path) -> None:
    names = await running(world, 50)
    async with agent(world, tmp_path) as running_agent:
        files = open_files(running_agent.process.pid)
        for number in range(20):
            await asyncio.to_thread(world.kill_bus)
            await on_manager(world, "stop", names[number])
            await eventually(lambda: agrees(world), "back, and true", seconds=15)
        assert set(await published(world)) >= set(names[20:])
        assert open_files(running_agent.process.pid) <= files
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


async def test_a_bus_that_stops_for_a_while_costs_nothing(world: World, tmp_path: Path) -> None:
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
"""Where the other agent's socket is not, on the same bus."""


async def test_a_second_agent_on_one_bus_gives_up(world: World, tmp_path: Path) -> None:
    async with agent(world, tmp_path):
        process = await asyncio.to_thread(
            world.run, "python", "-m", "koi_agent", "run", "--user", check=False, env=ELSEWHERE
        )
        assert process.returncode == 75
        assert "owned by another process" in process.stderr


@asynccontextmanager
async def second_follower(world: World) -> AsyncIterator[Registry]:
    """Follow the same manager once more, as another agent would."""
    registry = Registry(["systemd"])
    bus = Bus(world.bus_address, lambda _link, _message: None)
    follower = Follower(
        Systemd(bus, SystemdConfig(), Census()),
        lambda change: print(registry.apply(change, 1)),  # noqa: T201 - shown when it fails
        registry.differences,
        interval=2.0,
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bus.run()), group.create_task(follower.run())]
        await follower.settled.wait()
        yield registry
        for task in tasks:
            task.cancel()


async def test_two_that_follow_leave_systemd_in_peace(world: World, tmp_path: Path) -> None:
    """Ask nothing that loads a unit, or each would answer the other's noise for ever."""
    await running(world, 20)
    loads: list[str] = []

    def note(items: Sequence[Signal | Changed]) -> None:
        loads.extend(str(item.body[0]) for item in items if isinstance(item, Signal))

    manager = f"{SYSTEMD}.Manager"
    loaded = Subscription(
        sender=SYSTEMD,
        rules=(f"type='signal',sender='{SYSTEMD}',interface='{manager}',member='UnitNew'",),
        members=frozenset({(manager, "UnitNew")}),
        deliver=note,
    )
    async with (
        agent(world, tmp_path),
        second_follower(world) as registry,
        connected(world.bus_address) as link,
        link.subscribed(loaded),
    ):
        await asyncio.sleep(2)
        loads.clear()
        await asyncio.sleep(60)
        assert loads == []
        assert registry.backends["systemd"].state is BackendState.SYNCED
        assert registry.backends["systemd"].drift == 0


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
