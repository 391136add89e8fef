"""A real systemd for the tests here: one private world for all, reset after each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import lan as small_network
from tests import world as private_world
from tests.conftest import require
from tests.lan import Lan
from tests.world import World


@pytest.fixture(scope="session")
def shared_world() -> Iterator[World]:
    """The world that all tests of a process share; use ``world``, which is reset after each."""
    if reason := private_world.missing():
        require("systemd", reason)
    with World() as started:
        yield started


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """A private world without traces of other tests."""
    yield shared_world
    shared_world.reset()


@pytest.fixture
def lan(world: World, tmp_path: Path) -> Iterator[Lan]:
    """Two hosts on a network; the Avahi of the world does not run yet."""
    if reason := small_network.missing():
        require("avahi", reason)
    with Lan(world, tmp_path) as made:
        yield made
