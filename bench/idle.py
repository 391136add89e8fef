"""Measures the idle agent for a minute: ``python -m bench.idle`` as root.

It follows a real systemd and a fake engine with 50 containers. No full list is due in the minute.
A wakeup is a voluntary context switch of one of its threads.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.agents import bus_and_manager, engine, in_world, services, settings
from bench.parts import Checkout, Run, main
from bench.processes import Cost, switches
from tests.world import World

SETTLED: Final = 45.0
"""Seconds after the start in which listening sockets are still searched for."""
WATCHED: Final = 60.0


def measure(run: Run) -> None:
    with ExitStack() as stack:
        # All checkouts at the same time, each in a world of its own.
        idle = {checkout: stack.enter_context(running(checkout)) for checkout in run.turns(1)}
        time.sleep(SETTLED)
        before = {pids: (switches(pids), Cost(*pids)) for pair in idle.values() for pids in pair}
        time.sleep(WATCHED)
        for checkout, pair in idle.items():
            woken = [[float(switches(pids) - before[pids][0])] for pids in pair]
            used = [[1000 * before[pids][1].cpu()] for pids in pair]
            run.add("idle.wakeups", checkout, *woken)
            run.add("idle.cpu", checkout, *used)


@contextmanager
def running(checkout: Checkout) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Run an agent; yield its PID, and those of the manager and the bus."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        world = stack.enter_context(World(f"bench-{checkout.label}"))
        world.systemctl("start", *services(world, range(10)))
        stack.enter_context(engine(folder / "docker.sock", 50))
        text = settings(backends="systemd docker", docker=folder / "docker.sock", resync="1h")
        # The world has one bus. A host without a system bus is rare: the agent looks for it.
        bus = {"DBUS_SYSTEM_BUS_ADDRESS": world.environment["DBUS_SESSION_BUS_ADDRESS"]}
        agent = stack.enter_context(in_world(world, checkout, folder, text, **bus))
        yield (agent.pid,), tuple(bus_and_manager(world))


if __name__ == "__main__":
    main("idle", measure, __doc__)
