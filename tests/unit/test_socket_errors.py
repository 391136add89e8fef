"""The texts for a socket that can't be used, and which of them mean that the engine is absent."""

import errno
import os
import socket
from pathlib import Path

import pytest

from koi_agent.backends.http_engine.socket_errors import UnixSocket, backend_error, describe
from koi_agent.core.errors import BackendAbsent


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def describe_path(path: Path, number: int) -> str:
    return describe(UnixSocket(str(path)), error(number))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR])
def test_a_missing_socket_means_that_the_engine_is_absent(tmp_path: Path, number: int) -> None:
    path = tmp_path / "d.sock"
    lost = backend_error(UnixSocket(str(path)), error(number))
    assert isinstance(lost, BackendAbsent)
    assert str(lost) == f"{path}: no such socket"


def test_a_socket_without_a_listener_is_told_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
    assert describe_path(path, errno.ECONNREFUSED) == f"{path}: nothing listens on this socket"
    path.unlink()
    path.touch()
    assert describe_path(path, errno.ECONNREFUSED) == f"{path}: not a socket"


def test_a_socket_of_a_group_names_the_group_and_its_power(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: a file can't be given to another user")
    path = tmp_path / "d.sock"
    path.touch(mode=0o660)
    path.chmod(0o660)
    os.chown(path, 0, 1)  # daemon, on every system
    text = describe_path(path, errno.EACCES)
    assert text.startswith(f"{path}: permission denied (root:daemon 0660); ")
    assert "SupplementaryGroups=daemon" in text
    assert "can become root" in text


def test_a_socket_of_root_alone_names_no_group(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    path.touch()
    path.chmod(0o600)
    text = describe_path(path, errno.EACCES)
    assert text.startswith(f"{path}: permission denied (")
    assert "Supplementary" not in text


def test_a_socket_with_a_gate_names_the_commands_that_start_it(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    path.touch()
    text = describe(UnixSocket(str(path), "gate@d.path"), error(errno.EACCES))
    assert text.endswith("run: systemctl unmask gate@d.path && systemctl start gate@d.path")


def test_any_other_error_has_the_systems_text() -> None:
    assert describe(UnixSocket("/x"), error(errno.EMFILE)) == "/x: Too many open files"
