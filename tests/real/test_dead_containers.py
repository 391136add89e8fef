"""Containers without a process, of which a real Docker still says that they run."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd
from tests.namespaces import CHECKOUT, children, name
from tests.real.agents import eventually

FOLLOWER = """
import asyncio, json, sys
from koi_agent.backends.docker import Docker
from koi_agent.backends.docker.kinds import KINDS
from koi_agent.backends.docker.sockets import find_candidates
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from koi_agent.host.listeners import ListenerTable

registry = Registry({"docker": "docker"})

def apply(change):
    for event in registry.apply(change, 1):
        if instance := getattr(event, "instance", None):
            reason = getattr(event, "reason", "")
            print(json.dumps([type(event).__name__, instance.id, reason]), flush=True)

candidates = find_candidates(KINDS["docker"], sys.argv[1], "system", {})
backend = Docker("docker", KINDS["docker"], candidates, ListenerTable(), image_labels=True)
asyncio.run(Follower(backend, apply, registry.differences, interval=1.0).run())
"""


class Follower:
    """Follows a Docker inside its namespaces, where the control groups of its containers are."""

    def __init__(self, docker: Dockerd) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.docker = docker
        env = {"PYTHONPATH": str(CHECKOUT), "PATH": os.environ["PATH"]}
        self._process = docker.spawn(
            sys.executable, "-c", FOLLOWER, docker.socket, env=env, stdout=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            kind, id_, reason = json.loads(line)
            if kind != "Updated":
                self.events.append((kind, id_, reason))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._reader.join(60)
        if self._process.stdout:
            self._process.stdout.close()

    def of(self, id_: str) -> list[str]:
        return [kind for kind, one, _ in self.events if one == id_]

    def has_stopped(self, id_: str) -> bool:
        return self.of(id_) == ["Started", "Stopped"]

    def reasons(self, id_: str) -> list[str]:
        return [reason for kind, one, reason in self.events if one == id_ and kind == "Stopped"]


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Follower]:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as docker, contextlib.closing(Follower(docker)) as started:
        yield started


async def run(follower: Follower, **config: Any) -> str:
    """Run a container, and wait until it is published."""
    engine = follower.docker.engine
    id_: str = await asyncio.to_thread(engine.create, f"box-{len(follower.events)}", **config)
    await asyncio.to_thread(engine.call, "POST", f"/containers/{id_}/start")
    await eventually(lambda: follower.of(id_) == ["Started"], "started")
    return id_


def state(follower: Follower, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = follower.docker.engine.call("GET", f"/containers/{id_}/json")["State"]
    return found


def children_of_threads(pid: int) -> list[int]:
    """Return the child processes of all threads of a process."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            found += map(int, file.read_text().split())
    return found


def shim_of(follower: Follower, id_: str) -> int:
    """Return the PID on the host of the process that watches a container for containerd."""
    for pid in children(follower.docker.pid):
        is_shim = name(pid).startswith("containerd-shim")
        if is_shim and id_ in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    raise ProcessLookupError(f"{id_}: no containerd-shim")


def kill_processes(follower: Follower, id_: str) -> None:
    """Kill a container's processes, as the kernel or an administrator does."""
    for pid in children_of_threads(shim_of(follower, id_)):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def containerd_stopped(docker: Dockerd) -> Iterator[None]:
    """Keep containerd from noticing that a container ends."""
    (daemon,) = docker.daemons("dockerd")
    pids = [pid for pid in children_of_threads(daemon) if name(pid) == "containerd"]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("policy", ["no", "always"])
async def test_container_without_a_process_is_gone_whatever_its_engine_says(
    follower: Follower, policy: str
) -> None:
    id_ = await run(follower, HostConfig={"RestartPolicy": {"Name": policy}})
    with containerd_stopped(follower.docker):
        kill_processes(follower, id_)
        await eventually(partial(follower.has_stopped, id_), "stopped")
        assert state(follower, id_)["Status"] == "running"
        assert follower.reasons(id_) == ["control group is empty, though the engine says running"]
        await asyncio.sleep(3)  # several lists, in which the engine has it
        assert follower.of(id_) == ["Started", "Stopped"]
    if policy == "no":
        await eventually(lambda: state(follower, id_)["Status"] == "exited", "the engine notices")
        await asyncio.to_thread(follower.docker.engine.call, "POST", f"/containers/{id_}/start")
    await eventually(lambda: follower.of(id_) == ["Started", "Stopped", "Started"], "runs again")


async def test_end_that_the_engine_reports_has_its_reason(follower: Follower) -> None:
    for id_ in [await run(follower) for _ in range(5)]:
        await asyncio.to_thread(follower.docker.engine.call, "POST", f"/containers/{id_}/kill")
        await eventually(partial(follower.has_stopped, id_), "stopped")
        assert follower.reasons(id_) == ["exited with 137"]


async def test_container_that_restarts_by_itself_is_one_run(follower: Follower) -> None:
    always = {"RestartPolicy": {"Name": "always"}}
    id_ = await run(follower, Cmd=["sleep", "1"], HostConfig=always)
    engine = follower.docker.engine

    def restarts() -> int:
        return int(engine.call("GET", f"/containers/{id_}/json")["RestartCount"])

    await eventually(lambda: restarts() >= 4, "restarts")
    assert follower.of(id_) == ["Started"]


async def test_container_whose_shim_is_killed_is_gone(follower: Follower) -> None:
    id_ = await run(follower)
    shim = shim_of(follower, id_)
    own = children_of_threads(shim)
    for pid in (shim, *own):
        with contextlib.suppress(ProcessLookupError):  # a child may end with the shim
            os.kill(pid, signal.SIGKILL)
    await eventually(partial(follower.has_stopped, id_), "stopped")
