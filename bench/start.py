"""Measures the start of the agent and its resident memory: ``python -m bench.start`` as root.

The time runs from exec until the bus announces the owner of the agent's name, and until READY=1.
"""

import os
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.agents import WAITING, Page, engine, execute, in_world, services, settings
from bench.parts import Checkout, Run, main
from bench.processes import Ran, resident
from tests.world import World

ROUNDS: Final = 5
SETTLED: Final = 2.0
"""Seconds after which the memory of an agent is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The units and containers that run when the agent starts."""

    name: str
    units: int
    containers: int = 0


CONFIGURATIONS: Final = (
    Configuration(name="2_units", units=2),
    Configuration(name="50_containers_and_HTTP", units=2, containers=50),
    Configuration(name="100_containers_and_200_units", units=200, containers=100),
)


def measure(run: Run) -> None:
    with World("bench") as world:
        for configuration in CONFIGURATIONS:
            # The bus of the world is a unit too.
            names = services(world, range(configuration.units - 1))
            world.reload()
            world.systemctl("start", *names)
            for checkout in run.turns(ROUNDS):
                with ExitStack() as stack:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                    if count := configuration.containers:
                        stack.enter_context(engine(folder / "docker.sock", count))
                    started(run, world, configuration, checkout, folder)


def started(
    run: Run, world: World, configuration: Configuration, checkout: Checkout, folder: Path
) -> None:
    """Measure one start."""
    docker = folder / "docker.sock" if configuration.containers else None
    text = settings(backends="systemd docker" if docker else "systemd", docker=docker)
    duration, memory = empty(world, checkout)
    floor = Ran.program(checkout.empty(), dict(os.environ)).cpu
    name = f"start.{configuration.name}"
    with in_world(world, checkout, folder, text) as agent:
        run.add(f"{name}.owned", checkout, [agent.owned], [duration])
        run.add(f"{name}.ready", checkout, [agent.ready])
        run.add(f"{name}.cpu", checkout, [agent.cpu], [floor])
        time.sleep(SETTLED)
        if docker:
            with closing(Page(agent.page)) as page:
                page.get("/v1/runtime/instances")
        run.add(f"{name}.resident", checkout, [resident(agent.pid)], [memory])


def empty(world: World, checkout: Checkout) -> tuple[float, float]:
    """Return the duration of an empty Python in seconds, and its memory in MB."""
    process = world.spawn(*WAITING, *checkout.empty(), stdin=subprocess.PIPE)
    began = execute(process)
    process.wait()
    duration = time.perf_counter() - began
    waiting = [checkout.python, "-I", "-c", "input()"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE, text=True) as idle:
        time.sleep(0.2)
        memory = resident(idle.pid)
        idle.communicate("\n")
    return duration, memory


if __name__ == "__main__":
    main("start", measure, __doc__)
