"""Measures 100 units that start and stop: ``python -m bench.units`` as root.

One by one with pauses of 30 ms, and in bursts of 20. A bus monitor stamps systemd's signals and the
agent's, which gives the delays. The processor time is measured without the monitor, and beside it
that of a program which only reads the same signals.
"""

import asyncio
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.agents import bus_and_manager, in_world, services, settings
from bench.monitor import BusMonitor, Stamped
from bench.parts import Checkout, Run, main
from bench.processes import Cost
from bench.signal_reader import receiving
from koi_agent.bus.client import connected
from tests.world import World

ROUNDS: Final = 4
UNITS: Final = 100
SETTLED: Final = 1.5
"""Seconds until the agent has done everything that a unit causes."""
MANAGER: Final = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)
UNIT: Final = "org.freedesktop.systemd1.Unit"
RUNNING: Final = ("active", "deactivating")
STATES: Final = {(False, True): "start", (True, False): "stop"}
"""The change, by whether the unit ran and whether it runs."""
EVENTS: Final = {"InstanceStarted": "start", "InstanceStopped": "stop"}


@dataclass(frozen=True, slots=True)
class Way:
    """How many units start together, and the pause after them in seconds."""

    name: str
    together: int
    pause: float


WAYS: Final = (Way("single", 1, 0.03), Way("burst", 20, 0.6))


def measure(run: Run) -> None:
    with World("bench") as world, tempfile.TemporaryDirectory() as folder:
        names = services(world, range(UNITS))
        world.reload()
        for checkout in run.turns(ROUNDS):
            with receiving(checkout, world.bus_address) as pid:
                for way in WAYS:
                    run.add(f"units.{way.name}.reading", checkout, *cost(world, pid, way, names))
            with in_world(world, checkout, Path(folder), settings(backends="systemd")) as agent:
                for way in WAYS:
                    used = cost(world, agent.pid, way, names)
                    run.add(f"units.{way.name}.cpu", checkout, *used)
                    delays(run, world, checkout, way, names)


def cost(
    world: World, pid: int, way: Way, names: Sequence[str]
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the milliseconds for each unit of a process, and of the manager and the bus."""
    ours, theirs = Cost(pid), Cost(*bus_and_manager(world))
    asyncio.run(cycle(world, way, names))
    each = 1000 / len(names)
    return [each * ours.cpu()], [each * theirs.cpu()]


def delays(run: Run, world: World, checkout: Checkout, way: Way, names: Sequence[str]) -> None:
    with BusMonitor(world.bus_address) as monitor:
        asyncio.run(cycle(world, way, names))
        for verb, delay in measured(monitor.signals(), names):
            for of in ("median", "p99"):
                run.add(f"units.{way.name}.{verb}.{of}", checkout, [1000 * delay])


async def cycle(world: World, way: Way, names: Sequence[str]) -> None:
    """Start and stop all units; return when all is settled."""
    async with connected(world.bus_address) as link:

        async def all_of(verb: str, some: Iterable[str]) -> None:
            async with asyncio.TaskGroup() as group:
                for name in some:
                    group.create_task(link.call(MANAGER, verb, "ss", (name, "replace")))
            await asyncio.sleep(way.pause)

        if way.together == 1:
            for name in names:
                await all_of("StartUnit", [name])
                await all_of("StopUnit", [name])
        else:
            for verb in ("StartUnit", "StopUnit"):
                for some in groups(names, way.together):
                    await all_of(verb, some)
    await asyncio.sleep(SETTLED)


def groups(names: Sequence[str], together: int) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), together):
        yield names[first : first + together]


def measured(signals: Iterable[Stamped], names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield verb and seconds from systemd's first signal of a state to the agent's signal."""
    paths = {f"/org/freedesktop/systemd1/unit/{name.replace('.', '_2e')}": name for name in names}
    states = dict.fromkeys(names, "")
    began: dict[tuple[str, str], float] = {}
    for one in signals:
        if one.member == "PropertiesChanged" and one.path in paths and one.body[0] == UNIT:
            name, state = paths[one.path], one.body[1].get("ActiveState", "")
            if (verb := STATES.get((states[name] in RUNNING, state in RUNNING))) and state:
                began[name, verb] = one.at
            states[name] = state or states[name]
        elif (verb := EVENTS.get(one.member)) and (key := (one.body[0], verb)) in began:
            yield verb, one.at - began.pop(key)


if __name__ == "__main__":
    main("units", measure, __doc__)
