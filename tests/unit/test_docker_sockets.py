"""Where engines are looked for, and what is said of a socket that can't be used."""

import errno
import os
import socket
from pathlib import Path

import pytest

from koi_agent.backends.docker.sockets import candidates, foreign_host, trouble

DOCKERS = ("/run/koi-runtime/gate/docker.sock", "/run/docker.sock")
PODMANS = ("/run/koi-runtime/gate/podman.sock", "/run/podman/podman.sock")
RUNTIME = {"XDG_RUNTIME_DIR": "/run/user/1000"}


@pytest.mark.parametrize(
    ("backend", "wished", "scope", "environment", "paths"),
    [
        ("docker", "", "system", {}, [*DOCKERS]),
        ("podman", "", "system", {}, [*PODMANS, *DOCKERS]),
        ("docker", "", "user", RUNTIME, ["/run/user/1000/docker.sock"]),
        (
            "podman",
            "",
            "user",
            RUNTIME,
            ["/run/user/1000/podman/podman.sock", "/run/user/1000/docker.sock"],
        ),
        ("docker", "", "user", {}, []),
        ("docker", "/srv/d.sock", "system", {"DOCKER_HOST": "unix:///x"}, ["/srv/d.sock"]),
        ("podman", "/srv/p.sock", "user", RUNTIME, ["/srv/p.sock"]),
        (
            "docker",
            "",
            "system",
            {"DOCKER_HOST": "unix:///srv/d.sock"},
            ["/srv/d.sock", *DOCKERS],
        ),
        (
            "podman",
            "",
            "system",
            {"CONTAINER_HOST": "unix:///srv/p.sock", "DOCKER_HOST": "unix:///srv/d.sock"},
            ["/srv/p.sock", *PODMANS, "/srv/d.sock", *DOCKERS],
        ),
        ("docker", "", "system", {"DOCKER_HOST": "tcp://192.0.2.1:2375"}, [*DOCKERS]),
    ],
)
def test_sockets_are_tried_in_order(
    backend: str, wished: str, scope: str, environment: dict[str, str], paths: list[str]
) -> None:
    assert list(candidates(backend, wished, scope, environment)) == paths


def test_engine_of_another_host_is_told_of() -> None:
    told = foreign_host("docker", {"DOCKER_HOST": "ssh://elsewhere"})
    assert told.startswith("DOCKER_HOST names no socket of this host")
    assert "XDG_RUNTIME_DIR" in foreign_host("podman", {})


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_socket_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    assert trouble(str(path), error(errno.ENOENT)) == f"there is no {path}"


def test_socket_on_which_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
    assert trouble(str(path), error(errno.ECONNREFUSED)) == f"nobody listens on {path}"
    path.unlink()
    path.touch()
    assert trouble(str(path), error(errno.ECONNREFUSED)) == f"{path} is no socket"


def test_socket_of_a_group_names_the_group_and_the_price(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: a file can't be given away")
    path = tmp_path / "d.sock"
    path.touch(mode=0o660)
    path.chmod(0o660)
    os.chown(path, 0, 1)  # daemon, on every system
    told = trouble(str(path), error(errno.EACCES))
    assert told.startswith(f"permission denied on {path} (root:daemon 0660): ")
    assert "SupplementaryGroups=daemon" in told
    assert "as good as root" in told


def test_socket_of_root_alone_names_no_group(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    path.touch()
    path.chmod(0o600)
    told = trouble(str(path), error(errno.EACCES))
    assert told.startswith(f"permission denied on {path} (")
    assert "Supplementary" not in told


def test_any_other_trouble_is_told_in_the_systems_words(tmp_path: Path) -> None:
    assert trouble("/x", error(errno.EMFILE)) == "/x: Too many open files"
