"""A minute in which nothing happens, and nothing is caused."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from koi_agent.backends.systemd import Systemd
from koi_agent.backends.systemd.unit_files import UnitFileReader
from koi_agent.bus.client import ReconnectingBus, connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.config import SystemdConfig
from koi_agent.core.events import BackendState
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.machine_units import MachineUnits
from tests.real.agents import agent, running
from tests.world import World

SYSTEMD = "org.freedesktop.systemd1"


@asynccontextmanager
async def second_follower(world: World) -> AsyncIterator[Registry]:
    """Follow the same manager once more, as another agent would."""
    registry = Registry({"systemd": "systemd"})
    bus = ReconnectingBus(world.bus_address, lambda _link, _message: None)
    follower = Follower(
        Systemd(bus, SystemdConfig(), UnitFileReader({}), ListenerTable(), MachineUnits()),
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
    """Following must load no unit: each agent would answer the signals of the other forever."""
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
