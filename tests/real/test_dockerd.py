"""The private Docker works as the other tests need it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd
from tests.dockerd.engine import EngineFailed
from tests.namespaces import CHECKOUT, HarnessFailed, wait_until

STARTER = """
import signal, sys
from pathlib import Path
from tests.dockerd import Dockerd
with Dockerd(Path(sys.argv[1])) as docker:
    docker.run("run", "--detach", "--publish=8080:80", "koi-busybox", "httpd", "-f")
    docker.run("run", "--detach", "--name=frozen", "koi-busybox")
    docker.run("pause", "frozen")
    print(docker.pid, flush=True)
    signal.pause()
"""


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Dockerd]:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as started:
        yield started


def control_group(pid: int) -> Path:
    """Return the control group of a process, where the host has the unified hierarchy."""
    (line,) = [
        line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line[:3] == "0::"
    ]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    (top,) = [mount.split()[1] for mount in mounts if mount.split()[2] == "cgroup2"]
    return Path(f"{top}{line.removeprefix('0::')}").parent


def mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def test_a_container_runs_and_is_removed(docker: Dockerd) -> None:
    identifier = docker.run("run", "--detach", "--name=one", "koi-busybox").stdout.strip()
    assert docker.running() == {identifier: ("one", "running")}
    docker.run("pause", "one")
    assert docker.running() == {identifier: ("one", "paused")}
    docker.run("rm", "--force", "one")
    assert docker.running() == {}


def test_a_published_port_answers_inside_only(docker: Dockerd) -> None:
    docker.run("run", "--detach", "--publish=18080:80", "koi-busybox", "httpd", "-f")
    ask = ["busybox", "wget", "-q", "-O-", "http://127.0.0.1:18080/bin/busybox"]

    def is_answered() -> bool:
        return docker.spawn(*ask, stdout=subprocess.DEVNULL).wait(10) == 0

    wait_until(is_answered, "it answers inside")
    assert subprocess.run(ask, check=False, stderr=subprocess.DEVNULL).returncode != 0


def test_many_containers_start_and_are_removed(docker: Dockerd) -> None:
    made = [docker.engine.create(f"many-{number}", Labels={"n": "1"}) for number in range(20)]
    docker.engine.each("POST", [f"/containers/{one}/start" for one in made])
    assert set(docker.running()) == set(made)
    docker.engine.each("DELETE", [f"/containers/{one}?force=1" for one in made])
    assert docker.running() == {}


def test_a_killed_daemon_can_be_started_again(docker: Dockerd) -> None:
    docker.run("run", "--detach", "--name=always", "--restart=always", "koi-busybox")
    docker.run("run", "--detach", "--name=once", "koi-busybox")
    for _ in range(3):
        before = docker.daemons()
        docker.kill()
        assert docker.daemons() == []
        docker.start()
        assert not set(docker.daemons()) & set(before)
        assert [*docker.running().values()] == [("always", "running")]


def test_with_live_restore_containers_continue(tmp_path: Path) -> None:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path, "--live-restore") as docker:
        docker.run("run", "--detach", "--name=steady", "koi-busybox")
        before = docker.engine.call("GET", "/containers/steady/json")["State"]
        docker.kill()
        docker.start()
        docker.stop()
        docker.start()
        assert docker.engine.call("GET", "/containers/steady/json")["State"] == before


def test_an_error_has_the_daemons_message(docker: Dockerd, tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match=r"404 .*No such container: nothing"):
        docker.engine.call("POST", "/containers/nothing/start")
    with pytest.raises(HarnessFailed, match="No such container: nothing"):
        docker.run("start", "nothing")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(HarnessFailed, match="unknown flag: --sing"), Dockerd(other, "--sing"):
        pass


def test_nothing_is_left_on_the_host_when_the_starter_is_killed(tmp_path: Path) -> None:
    if reason := dockerd.missing():
        require("docker", reason)
    before = mounts(), links()
    program = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as starter:
        assert starter.stdout is not None
        leader = int(starter.stdout.readline())
        group = control_group(leader)
        assert group.is_dir()
        assert group.name.startswith("koi-dockerd.")
        starter.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{leader}").exists(), "all in it has ended")
    wait_until(lambda: not group.exists(), "the control group is gone")
    wait_until(lambda: not mounts() - before[0], "no mount is left")
    wait_until(lambda: not links() - before[1], "no network interface is left")
