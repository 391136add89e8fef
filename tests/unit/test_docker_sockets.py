"""The sockets on which an engine is looked for."""

import pytest

from koi_agent.backends.docker.kinds import KINDS
from koi_agent.backends.docker.sockets import Candidate, find_candidates
from koi_agent.host.engines import SocketUnit

DOCKER_SOCKETS = ("/run/koi-runtime/gate/docker.sock", "/run/docker.sock")
PODMAN_SOCKETS = ("/run/koi-runtime/gate/podman.sock", "/run/podman/podman.sock")
RUNTIME = {"XDG_RUNTIME_DIR": "/run/user/1000"}


@pytest.mark.parametrize(
    ("kind", "configured", "scope", "environment", "paths"),
    [
        ("docker", "", "system", {}, [*DOCKER_SOCKETS]),
        ("podman", "", "system", {}, [*PODMAN_SOCKETS, *DOCKER_SOCKETS]),
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
        ("podman", "unix:///srv/p.sock", "user", RUNTIME, ["/srv/p.sock"]),
        (
            "docker",
            "",
            "system",
            {"DOCKER_HOST": "unix:///srv/d.sock"},
            ["/srv/d.sock", *DOCKER_SOCKETS],
        ),
        (
            "podman",
            "",
            "system",
            {"CONTAINER_HOST": "unix:///srv/p.sock", "DOCKER_HOST": "unix:///srv/d.sock"},
            ["/srv/p.sock", *PODMAN_SOCKETS, "/srv/d.sock", *DOCKER_SOCKETS],
        ),
        ("docker", "", "system", {"DOCKER_HOST": "tcp://192.0.2.1:2375"}, [*DOCKER_SOCKETS]),
    ],
)
def test_sockets_are_tried_in_order(
    kind: str, configured: str, scope: str, environment: dict[str, str], paths: list[str]
) -> None:
    found = find_candidates(KINDS[kind], configured, scope, environment)
    assert [candidate.path for candidate in found.sockets] == paths
    assert bool(found.reason) is (not paths)


def test_the_engines_own_socket_names_the_unit_of_its_gate() -> None:
    gate, own, *foreign = find_candidates(KINDS["podman"], "", "system", {}).sockets
    assert gate == Candidate(path=PODMAN_SOCKETS[0], is_gate=True)
    assert own == Candidate(
        path=PODMAN_SOCKETS[1],
        gate_unit="koi-runtime-gate@podman.path",
        unit=SocketUnit(engine="podman", scope="system"),
    )
    assert [candidate.is_foreign for candidate in foreign] == [True, True]
    (configured,) = find_candidates(KINDS["docker"], DOCKER_SOCKETS[1], "system", {}).sockets
    assert configured == Candidate(path=DOCKER_SOCKETS[1])


def test_the_reason_for_no_socket_names_the_variable_and_the_setting() -> None:
    elsewhere = find_candidates(KINDS["docker"], "", "user", {"DOCKER_HOST": "ssh://elsewhere"})
    assert elsewhere.reason == (
        "DOCKER_HOST: not a Unix socket: ssh://elsewhere; set it, or Socket= of [Docker]"
    )
    unset = find_candidates(KINDS["podman"], "", "user", {})
    assert unset.reason == (
        "no socket to try: XDG_RUNTIME_DIR is not set; set it, or Socket= of [Podman]"
    )
