"""A real systemd for the tests here: one private world for all, as new for each."""

from collections.abc import Iterator

import pytest

from tests import world as private_world
from tests.conftest import require
from tests.world import World


@pytest.fixture(scope="session")
def shared_world() -> Iterator[World]:
    """The world that all tests share; use world, which is reset after each."""
    if reason := private_world.missing():
        require("systemd", reason)
    with World() as started:
        yield started


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """A private world without anything of another test in it."""
    yield shared_world
    shared_world.reset()
