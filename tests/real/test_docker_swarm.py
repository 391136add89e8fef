"""Services of a real swarm of one node: their names, replicas and published ports."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import dockerd
from tests.conftest import require
from tests.dockerd import Dockerd
from tests.namespaces import wait_until
from tests.real.inside_docker import Inside, Shown, followed

SERVE = ("koi-busybox", "httpd", "-f", "-p", "80")


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Dockerd]:
    if reason := dockerd.missing():
        require("docker", reason)
    with Dockerd(tmp_path) as docker:
        docker.run("swarm", "init", "--advertise-addr", "127.0.0.1")
        yield docker


def create(swarm: Dockerd, name: str, *options: str) -> None:
    plain = ("--detach", "--no-resolve-image", f"--name={name}")
    swarm.run("service", "create", *plain, *options, *SERVE)


def tasks(inside: Inside, name: str, count: int) -> list[Shown]:
    """Wait for the running tasks of a service, and return them by slot."""
    found: list[Shown] = []

    def are_there() -> bool:
        found[:] = [one for one in inside.ask("all") if one["name"] == name and one["pid"]]
        return len(found) == count

    wait_until(are_there, lambda: f"{count} tasks of {name} run: {inside.ask('all')}", timeout=90)
    return sorted(found, key=lambda one: int(one["replica"]))


def test_tasks_have_the_services_name_their_slots_and_its_ports(swarm: Dockerd) -> None:
    with followed(swarm) as inside:
        stack = "--label=com.docker.stack.namespace=shop"
        namespace = "--container-label=com.docker.stack.namespace=shop"
        create(swarm, "shop_web", "--replicas=2", "--publish=18090:80", stack, namespace)
        create(swarm, "host", "--publish=mode=host,published=18091,target=80")
        create(swarm, "everywhere", "--mode=global")
        web = tasks(inside, "web", 2)
        assert [(one["project"], one["replica"]) for one in web] == [("shop", 1), ("shop", 2)]
        assert [one["ports"] for one in web] == [["published 80/tcp at 18090"]] * 2
        (host,) = tasks(inside, "host", 1)
        assert (host["project"], host["replica"]) == ("host", 1)
        assert host["ports"] == ["published 80/tcp at 18091"]
        (everywhere,) = tasks(inside, "everywhere", 1)
        assert (everywhere["replica"], everywhere["ports"]) == (0, [])


def test_port_that_a_service_publishes_later_is_found(swarm: Dockerd) -> None:
    with followed(swarm) as inside:
        create(swarm, "web")
        assert tasks(inside, "web", 1)[0]["ports"] == []
        swarm.run("service", "update", "--detach", "--publish-add=18092:80", "web")
        wait_until(
            lambda: tasks(inside, "web", 1)[0]["ports"] == ["published 80/tcp at 18092"],
            "the port is found",
            timeout=90,
        )
