"""Machines with koi-runtime installed, one Debian suite after the other.

``KOI_TEST_SUITES`` names them; ``here`` is the machine that the tests run on, where the package
is installed already (debian/tests).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.machine import Machine, booted, here, missing
from tests.system.engines import Engine, Engines
from tests.system.package import install
from tests.system.service import Service

SUITES = os.environ.get("KOI_TEST_SUITES", "bookworm,trixie,forky").split(",")
MACHINE_TIMEOUT = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set timeouts that allow for the creation of machines, also on a busy host."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(MACHINE_TIMEOUT))


@pytest.fixture(scope="session", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    """The suite of the machine, or ``here``."""
    if request.param != "here" and (lacks := missing()):
        require("machine", lacks)
    return str(request.param)


@pytest.fixture(scope="session")
def machine(suite: str) -> Iterator[Machine]:
    """A machine on which koi-runtime is installed as an administrator would do it."""
    if suite == "here":
        yield here()
        return
    with booted(suite) as machine:
        install(machine)
        yield machine


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """The service as it is after ``systemctl enable --now koi-runtime``."""
    service = Service(machine)
    service.reset()
    yield service
    service.forget()


@pytest.fixture(scope="module")
def engines(machine: Machine) -> Engines:
    """Docker and Podman, with an image each; neither runs."""
    return Engines(machine)


@pytest.fixture
def engine(request: pytest.FixtureRequest, engines: Engines, service: Service) -> Iterator[Engine]:
    """An engine that does not run yet, and that the agent may ask."""
    engine = engines[request.param]
    engine.allow(service)
    yield engine
    engine.start()
    engine.empty()
    engine.stop()
    engine.forbid()
