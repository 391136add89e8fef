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
from tests.system.engines import Engine, Engines, await_state
from tests.system.incus import KINDS, IncusServer
from tests.system.package import install
from tests.system.service import Service

SUITES = os.environ.get("KOI_TEST_SUITES", "bookworm,trixie,forky").split(",")
MACHINE_TIMEOUT = 600
FORKY = "test_autopkgtest.py"
"""The file whose test boots a machine of its own, for twenty minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set timeouts that allow for the creation of machines, and order the tests.

    The longest test comes first. Then each suite follows the one before it, so that a parallel
    process changes its machine only once.
    """
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(MACHINE_TIMEOUT))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """Return the place of a test in the order: tests without a machine of ``SUITES`` are last."""
    if item.path.name == FORKY:
        return -1
    callspec = getattr(item, "callspec", None)
    suite = callspec.params.get("suite") if callspec else None
    return SUITES.index(suite) if suite in SUITES else len(SUITES)


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


@pytest.fixture(scope="session")
def prepared_incus(machine: Machine) -> IncusServer:
    """The server with a network and an image."""
    if machine.suite not in KINDS:
        pytest.skip(f"{machine.suite}: no server of the kind in this machine")
    server = IncusServer(machine)
    server.prepare()
    return server


@pytest.fixture
def incus(prepared_incus: IncusServer, service: Service) -> Iterator[IncusServer]:
    """The server, which the agent follows through the gate."""
    prepared_incus.start()
    prepared_incus.open_gate(service)
    await_state(service, prepared_incus.kind.name, "synced")
    yield prepared_incus
    prepared_incus.stop()
