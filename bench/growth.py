"""Measures the memory that an instance takes: ``python -m bench.growth``.

It is the difference between agents with many and with few containers, by their number. Containers
that opt in are compared with those that are only tracked. It needs no root.
"""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.agents import on_bus, settings, wait_until_calm
from bench.containers import private_bus
from bench.fake_engine import OPTS_IN, FakeEngine
from bench.parts import Checkout, Run, main
from bench.processes import resident

ROUNDS: Final = 3
FEW: Final = 500
MANY: Final = 4_500


def measure(run: Run) -> None:
    with private_bus() as bus:
        for checkout in run.turns(ROUNDS):
            tracked = growth(bus.address, checkout, {})
            run.add("growth.opted_in", checkout, [opted_in(bus.address, checkout)], [tracked])


def opted_in(address: str, checkout: Checkout) -> float:
    """Return the KB that each container adds that opts in."""
    return growth(address, checkout, OPTS_IN)


def growth(address: str, checkout: Checkout, labels: Mapping[str, str]) -> float:
    """Return the KB that each of many containers adds."""
    few, many = (memory(address, checkout, labels, count) for count in (FEW, MANY))
    return 1024 * (many - few) / (MANY - FEW)


def memory(address: str, checkout: Checkout, labels: Mapping[str, str], count: int) -> float:
    """Return the MB of an agent that follows so many containers."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(FakeEngine(folder / "docker.sock"))
        engine.run(count, labels)
        text = settings(backends="docker", docker=folder / "docker.sock")
        agent = stack.enter_context(on_bus(checkout, folder, address, text))
        wait_until_calm(agent.pid)
        return resident(agent.pid)


if __name__ == "__main__":
    main("growth", measure, __doc__)
