"""Twenty instances start and stop while the agent is killed, and the agent knows which run."""

import random
import shlex
from collections.abc import Iterator
from typing import Final

import pytest

from tests.system.incus import IMAGE, IncusServer, published
from tests.system.kills import NO_LIMIT, await_same, kill_during
from tests.system.service import Service

COUNT: Final = 20
ROUNDS: Final = 6
CHANGES: Final = 5
"""Instances that start or stop in each round."""
PROJECT: Final = "kills"
"""The project of every other instance."""
VERBS: Final = {
    "Running": ("stop --force", "restart --force", "pause", "delete --force"),
    "Frozen": ("start", "stop --force"),
    "Stopped": ("start",),
}
"""What can be done to an instance, by its status. A deleted one is launched again."""
NAMES: Final = {f"i{number}": (PROJECT if number % 2 else "default") for number in range(COUNT)}


@pytest.fixture
def project(incus: IncusServer) -> Iterator[None]:
    """A project with the images and the profiles of the default one."""
    shared = ("features.images=false", "features.profiles=false")
    incus.call("project", "create", PROJECT, *(word for one in shared for word in ("-c", one)))
    yield
    for one in incus.listed():
        incus.call("delete", "--force", f"--project={one['project']}", one["name"])
    incus.call("project", "delete", PROJECT)


def command(incus: IncusServer, verb: str, name: str) -> str:
    return f"{incus.kind.command} {verb} --project={NAMES[name]} {name}"


def launch(incus: IncusServer, name: str) -> str:
    return shlex.join((incus.kind.command, "launch", f"--project={NAMES[name]}", IMAGE, name))


def changes(incus: IncusServer, moments: random.Random) -> list[str]:
    """Return commands that change some instances."""
    statuses = {one["name"]: one["status"] for one in incus.listed()}
    actions: list[str] = []
    for name in moments.sample(sorted(NAMES), CHANGES):
        verb = moments.choice(VERBS[statuses[name]])
        actions.append(command(incus, verb, name))
        if verb.startswith("delete"):
            actions.append(launch(incus, name))
    return actions


@pytest.mark.usefixtures("project")
def test_the_set_is_that_of_the_server_whenever_the_agent_is_killed(
    incus: IncusServer, service: Service
) -> None:
    service.drop_in(NO_LIMIT)
    service.systemctl("restart")
    for one, project in NAMES.items():
        incus.launch(one, project=project)
    moments = random.Random(18)  # the times differ with the load in any case
    name = incus.kind.name
    await_same(service, name, lambda: published(incus, service), incus.running)
    assert len(incus.running()) == COUNT
    for _ in range(ROUNDS):
        kill_during(service, changes(incus, moments), moments)
        await_same(service, name, lambda: published(incus, service), incus.running)
    assert "Traceback" not in service.journal()
