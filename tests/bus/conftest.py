"""A real bus for each test, and a check that no socket is left open."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.world import bus as private_bus


@pytest.fixture(autouse=True)
def no_file_left(leak_check: None) -> None:
    """Check every test here for open files that it leaves."""


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[private_bus.PrivateBus]:
    """The bus of this test alone."""
    if reason := private_bus.missing():
        require("dbus", reason)
    daemon = private_bus.PrivateBus(tmp_path)
    daemon.start()
    yield daemon
    daemon.kill()


@pytest.fixture
def open_bus(bus: private_bus.PrivateBus, tmp_path: Path) -> private_bus.PrivateBus:
    """A bus that another user can reach."""
    if os.geteuid() != 0:
        require("root", "a call of another user needs setuid")
    (tmp_path / "bus").chmod(0o666)
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/tmp") and folder.is_relative_to("/tmp"):
            folder.chmod(0o711)
    return bus
