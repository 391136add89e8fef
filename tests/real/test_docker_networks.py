"""Ports of a real Docker's containers on the network of the host or of another container."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd
from tests.namespaces import wait_until
from tests.real.inside_docker import followed

EXPOSED: dict[str, Any] = {"80/tcp": {}, "443/tcp": {}, "9/udp": {}}
SERVE = "exec busybox httpd -f -p {}"
WAIT = "until test -e /open; do sleep 0.1; done; "
DRIVER = {
    "the default": ([], "/docker/{}"),
    "a parent": (["--cgroup-parent=/mydocker"], "/mydocker/{}"),
    "a slice": (["--cgroup-parent=/my.slice/my-own.slice"], "/my.slice/my-own.slice/{}"),
}


def serve(docker: Dockerd, name: str, port: int, *, waits: bool = False, **config: Any) -> str:
    """Start a container that listens on one port, and whose image exposes others.

    If it ``waits``, it listens once it has a file ``/open``.
    """
    command = ["sh", "-c", (WAIT if waits else "") + SERVE.format(port)]
    config = {"ExposedPorts": EXPOSED} | config
    id_ = docker.engine.create(name, Cmd=command, **config)
    docker.engine.call("POST", f"/containers/{id_}/start")
    return id_


@pytest.mark.parametrize(("options", "group"), DRIVER.values(), ids=DRIVER)
def test_on_the_hosts_network_a_container_has_what_it_listens_on(
    tmp_path: Path, options: list[str], group: str
) -> None:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path, *options) as docker, followed(docker) as inside:
        one = serve(docker, "one", 8123, network="host")
        serve(docker, "none", 80, network="host", waits=True)
        late = {"koi.port": "8200"}
        serve(docker, "late", 8200, network="host", waits=True, Labels=late)
        found = inside.until("one", lambda one: bool(one["ports"]))
        assert found["ports"] == ["listening 8123/tcp at 8123"]
        assert found["group"] == group.format(one)
        assert inside.ask("{} -.slice".format(found["pid"])) == ["one"]
        declared = inside.until("late", lambda late: bool(late["ports"]))
        assert declared["ports"] == ["declared 8200/tcp at 8200"]
        docker.run("exec", "late", "sh", "-c", ">/open")
        inside.until("late", lambda late: late["ports"] == ["listening 8200/tcp at 8200"])
        none = inside.until("none", lambda none: none["pid"] > 0)
        assert (none["ports"], none["notes"]) == ([], [])
        docker.run("kill", "one")
        wait_until(lambda: "one" not in inside.ask(), "it is gone")


def processes(docker: Dockerd, name: str, count: int) -> list[int]:
    """Return the PIDs of a container's processes, nothing if it has another number of them."""
    top = docker.engine.call("GET", f"/containers/{name}/top?ps_args=-eo%20pid")
    found = [int(row[0]) for row in top["Processes"]]
    return found if len(found) == count else []


def test_any_process_of_a_container_leads_to_it(tmp_path: Path) -> None:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as docker, followed(docker) as inside:
        serve(docker, "one", 1, waits=True)
        two = docker.engine.create("two", Cmd=["sh", "-c", "sleep 1000; true"])
        docker.engine.call("POST", f"/containers/{two}/start")
        inside.until("one", lambda one: bool(one["group"]))
        inside.until("two", lambda two: bool(two["group"]))
        _, child = wait_until(lambda: processes(docker, "two", 2), "its shell has a child")
        assert inside.ask(f"{child} -.slice") == ["two"]
        assert inside.ask(f"{os.getpid() + 2**21} docker.service") == []


ASK = "import urllib.request as r; r.urlopen('http://127.0.0.1:18071/bin/busybox', timeout=5)"


def answers(docker: Dockerd) -> bool:
    """Return True if the published port is answered, as users of this host see it."""
    return docker.spawn(sys.executable, "-c", ASK, stderr=subprocess.DEVNULL).wait(30) == 0


ADVICE = "restart this container too"


def test_chain_of_joined_networks_has_the_ports_of_its_end(tmp_path: Path) -> None:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as docker, followed(docker) as inside:
        publish = ("--publish=18071:8071", "koi-busybox", "sleep", "1000")
        docker.run("run", "--detach", "--name=vpn", *publish)
        docker.engine.call("POST", f"/containers/{joiner(docker, 'app', 'vpn')}/start")
        serve(docker, "exporter", 8071, network="container:app", ExposedPorts={})
        ports = ["published 8071/tcp at 18071"]
        for name in ("vpn", "app", "exporter"):
            inside.until(name, lambda one: one["ports"] == ports)
        wait_until(lambda: answers(docker), "the port is answered")
        docker.run("restart", "--time=0", "vpn")
        for name in ("app", "exporter"):
            inside.until(name, lambda one: one["ports"] == [] and ADVICE in str(one["notes"]))
        assert not answers(docker)
        docker.run("restart", "--time=0", "app")
        docker.run("restart", "--time=0", "exporter")
        inside.until("exporter", lambda one: one["ports"] == ports)
        wait_until(lambda: answers(docker), "the port is answered again")


def joiner(docker: Dockerd, name: str, target: str) -> str:
    """Create a container that only sleeps in the network of another one."""
    return docker.engine.create(name, network=f"container:{target}", Cmd=["sleep", "1000"])
