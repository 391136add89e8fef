"""The texts for a socket that can't be used, and which of them mean that the engine is absent."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from koi_agent.backends.http_engine.socket_errors import (
    UnixSocket,
    backend_error,
    check_listening,
    describe,
)
from koi_agent.core.errors import BackendAbsent
from koi_agent.host.engines import SocketUnit


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


@pytest.mark.parametrize("engine", ["podman", "docker"])
@pytest.mark.parametrize(("scope", "option"), [("system", ""), ("user", "--user ")])
@pytest.mark.parametrize("folder", ["etc", "lib"])
def test_a_missing_socket_of_an_installed_engine_names_the_unit_to_start(
    tmp_path: Path, engine: str, scope: str, option: str, folder: str
) -> None:
    folders = [str(tmp_path / name) for name in ("etc", "lib")]
    made_by = SocketUnit(engine=engine, scope=scope, folders=folders)
    path = UnixSocket(f"{tmp_path}/d.sock", unit=made_by)
    assert describe(path, error(errno.ENOENT)) == f"{path}: no such socket"
    unit = tmp_path / folder / "systemd" / scope / f"{engine}.socket"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Socket]\n")
    lost = backend_error(path, error(errno.ENOENT))
    assert isinstance(lost, BackendAbsent)
    advice = f"systemctl {option}enable --now {engine}.socket"
    assert str(lost) == f"{engine}.socket is not active; {advice}"
    unit.unlink()
    unit.symlink_to("/dev/null")
    assert f"{engine}.socket is masked; systemctl {option}unmask" in describe(
        path, error(errno.ENOENT)
    )


@pytest.fixture
def entered() -> Iterator[Path]:
    """A folder that every user may enter."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_hidden_socket_that_is_not_bound_does_not_exist(entered: Path) -> None:
    made_by = SocketUnit(engine="podman", scope="system", folders=[str(entered / "etc")])
    unit = entered / "etc/systemd/system/podman.socket"
    unit.parent.mkdir(parents=True)
    unit.touch()
    hidden = Hidden(entered, made_by)
    assert hidden.described() == (
        "podman.socket is not active; systemctl enable --now podman.socket"
    )
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(hidden.path)
        assert "systemctl unmask gate@podman.path" in hidden.described()


class Hidden:
    """A socket's path in a folder that only root may enter, as another user describes it."""

    def __init__(self, folder: Path, unit: SocketUnit) -> None:
        if os.geteuid() != 0:
            pytest.skip("not root: no folder is closed to another user")
        self.path = str(folder / "podman/podman.sock")
        Path(self.path).parent.mkdir(mode=0o700)
        self._socket = UnixSocket(self.path, "gate@podman.path", unit)

    def described(self) -> str:
        """Return the description in a process without root's rights."""
        reading, writing = os.pipe()
        if child := os.fork():
            os.close(writing)
            os.waitpid(child, 0)
            with os.fdopen(reading) as pipe:
                return pipe.read()
        try:
            os.setgroups([])
            os.setresuid(65534, 65534, 65534)
            os.write(writing, describe(self._socket, error(errno.EACCES)).encode())
        finally:
            os._exit(0)


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


async def test_socket_with_a_full_queue_is_awaited(tmp_path: Path) -> None:
    path = str(tmp_path / "engine")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as stack:
        listening.bind(path)
        listening.listen(0)
        while True:
            other = stack.enter_context(socket.socket(socket.AF_UNIX))
            other.settimeout(0)
            if other.connect_ex(path):
                break
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await check_listening(UnixSocket(path))
        listening.accept()[0].close()
        async with asyncio.timeout(60):
            await check_listening(UnixSocket(path))
