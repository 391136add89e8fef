"""A real Docker is followed through the gate alone."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import dockerd
from tests.conftest import require
from tests.costs import resident
from tests.dockerd import Dockerd
from tests.namespaces import CHECKOUT
from tests.real.agents import agent, eventually, instance, observer, published
from tests.real.announced import settings
from tests.world import World

PASS = (
    'exec 3<&"$1"; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=gate'
    ' exec "$2" -m koi_agent.services.gate docker "$3"'
)
MEMORY = 1.7
"""The most resident memory of a gate, by that of an interpreter with asyncio."""
BARE = "import asyncio, sys; print(open('/proc/self/status').read())"


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Dockerd]:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as started:
        yield started


@pytest.fixture
def gate(docker: Dockerd, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A gate before the Docker: its socket and its PID."""
    path = tmp_path / "gate.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        number = str(listener.fileno())
        command = ["bash", "-c", PASS, "gate", number, sys.executable, str(docker.socket)]
        with subprocess.Popen(command, pass_fds=[listener.fileno()], cwd=CHECKOUT) as process:
            yield path, process.pid
            process.terminate()
    assert process.returncode == 0


async def test_containers_are_followed_through_the_gate(
    world: World, docker: Dockerd, gate: tuple[Path, int], tmp_path: Path
) -> None:
    path, pid = gate
    settings(world, f"[Runtime]\nBackends=docker\n[Docker]\nSocket={path}\n")
    labels = {"koi.name": "Shop", "com.example.token": "s3cret"}
    async with agent(world, tmp_path), observer(world) as seen:
        id_ = docker.engine.create("shop", Labels=labels, Env=["KOI_MDNS_ANNOUNCE=shop"])
        docker.engine.call("POST", f"/containers/{id_}/start")
        await eventually(lambda: seen.count("InstanceStarted", id_), "it has started")

        async def inspected() -> bool:
            return bool((await instance(world, id_))["MainPID"])

        await eventually(inspected, "it is inspected")
        metadata = (await instance(world, id_))["Metadata"]
        assert (metadata["name"], metadata["dns_name"]) == ("Shop", "shop")
        docker.engine.call("POST", f"/containers/{id_}/kill")
        await eventually(lambda: seen.count("InstanceStopped", id_), "it has stopped")
        await eventually(lambda: gone(world), "none is left")
    status = Path(f"/proc/{pid}/status").read_text()  # noqa: ASYNC240 - no disk
    bare = world.run(sys.executable, "-c", BARE).stdout
    assert resident(status) < MEMORY * resident(bare)


async def gone(world: World) -> bool:
    return not await published(world)


def test_no_other_request_passes(docker: Dockerd, gate: tuple[Path, int]) -> None:
    path, _ = gate
    before = docker.engine.call("GET", "/containers/json?all=1")
    for request in (
        "POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        "GET /images/json HTTP/1.1\r\nHost: a\r\n\r\n",
        "DELETE /containers/x HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(60)
            door.connect(str(path))
            door.sendall(request.encode())
            assert door.recv(64).startswith(b"HTTP/1.1 403")
    assert docker.engine.call("GET", "/containers/json?all=1") == before
