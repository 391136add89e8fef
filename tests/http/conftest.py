"""Real sockets, and a check that tests leave none open."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_file_left(leak_check: None) -> None:
    """Apply the leak check to every test here."""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[socket.socket]:
    """A listening socket at a path, as systemd would pass it."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "http.sock"))
        listening.listen(512)
        listening.settimeout(0)
        yield listening


@pytest.fixture
def loopback() -> Iterator[socket.socket]:
    """A listening socket at a port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening
