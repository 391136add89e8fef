"""Twenty machines start and stop while the agent is killed, and the agent knows which run."""

import random
import shlex
from collections.abc import Iterator
from typing import Final

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.kills import NO_LIMIT, PATIENCE, await_same, kill_during
from tests.system.nspawn import Machines, fetched, nspawn, unit_of
from tests.system.service import Service

BACKEND: Final = "machined"
COUNT: Final = 20
ROUNDS: Final = 6
CHANGES: Final = 5
"""Machines that start or stop in each round."""
NAMES: Final = tuple(f"koi-{number}" for number in range(COUNT))
WORKLOAD: Final = ("--private-network", "--", "/bin/sleep", "1000")


@pytest.fixture
def machines(machine: Machine, service: Service) -> Iterator[Machines]:
    with nspawn(machine) as machines:
        yield machines


def leaders(service: Service) -> dict[str, int]:
    """Return the leaders of the machines that are published, by name."""
    return {name: one["main_pid"] for name, one in (fetched(service) or {}).items()}


def end(name: str) -> list[str]:
    """Return the commands after which a machine can be started again."""
    is_there = f"systemctl is-active --quiet {unit_of(name)}"
    return [f"machinectl terminate {name}", f"while {is_there}; do sleep 0.05; done"]


def change(name: str, start: str, *, is_running: bool, starts: bool) -> list[str]:
    """Return the commands that end a machine that runs, and start it."""
    return [*(end(name) if is_running else ()), *([start] if starts else ())]


def test_the_set_is_that_of_machinectl_whenever_the_agent_is_killed(
    machines: Machines, service: Service
) -> None:
    service.drop_in(NO_LIMIT)
    service.systemctl("restart")
    starts = {name: shlex.join(machines.start_command(name, *WORKLOAD)) for name in NAMES}
    machines.machine.run("sh", "-ec", "\n".join(starts.values()))
    moments = random.Random(18)  # the times differ with the load in any case
    running = set(NAMES)
    await_agreement(machines, service, running)
    for _ in range(ROUNDS):
        actions: list[str] = []
        for name in moments.sample(NAMES, CHANGES):
            is_running = name in running
            stays = not is_running or moments.random() < 0.5
            actions += change(name, starts[name], is_running=is_running, starts=stays)
            running = running | {name} if stays else running - {name}
        kill_during(service, actions, moments)
        await_agreement(machines, service, running)
    assert "Traceback" not in service.journal()


def await_agreement(machines: Machines, service: Service, running: set[str]) -> None:
    """Wait until some machines run, and these are published."""
    wait_until(
        lambda: machines.running() == running,
        lambda: f"{sorted(machines.running())} run, not {sorted(running)}",
        timeout=PATIENCE,
    )
    await_same(service, BACKEND, lambda: leaders(service), machines.leaders)
