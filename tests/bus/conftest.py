"""A real bus for each test, and none of its sockets left open."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.world import bus as private_bus


@pytest.fixture(autouse=True)
def no_file_left(leak_check: None) -> None:
    """Hold every test here to the leak check."""


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[private_bus.PrivateBus]:
    """A bus of this test's own."""
    if reason := private_bus.missing():
        require("dbus", reason)
    daemon = private_bus.PrivateBus(tmp_path)
    daemon.start()
    yield daemon
    daemon.kill()
