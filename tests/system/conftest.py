"""Booted machines with koi-runtime installed, one suite after the other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.machine import COPY, Machine, missing
from tests.system.engines import SOCKETS, Engine
from tests.system.service import Service

SUITES = ("bookworm", "trixie")
MACHINE_TIMEOUT = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give machines the time that they need to be made, and to be loaded."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(MACHINE_TIMEOUT))


@pytest.fixture(scope="session", params=SUITES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine on which koi-runtime is installed as an administrator would do it."""
    if lacks := missing():
        require("machine", lacks)
    with Machine(request.param) as booted:
        booted.remove("/run/podman")  # of no engine yet; nobody but root may look into it
        booted.run("make", "-C", COPY, "install")
        yield booted


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """The service as it is after ``systemctl enable --now koi-runtime``."""
    service = Service(machine)
    service.reset()
    yield service
    service.forget()


@pytest.fixture(scope="module")
def engines(machine: Machine) -> dict[str, Engine]:
    """Docker and Podman, with an image each; neither runs."""
    made = {name: Engine(machine, name) for name in SOCKETS}
    for engine in made.values():
        engine.prepare()
    return made
