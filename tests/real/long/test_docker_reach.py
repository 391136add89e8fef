"""Containers are checked and announced where hosts on the network reach them: a real peer."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import dockerd, lan
from tests.conftest import require
from tests.real.agents import agent, call, eventually, instance, published
from tests.real.docker_host import HEALTH, DockerHost, docker_host

CHECKED = [f"--label={key}={value}" for key, value in HEALTH.items()]
NO_IPV6 = [f"net.ipv6.conf.{name}.disable_ipv6=1" for name in ("all", "lo")]
OPTIONS = {
    "a proxy": [],
    "no proxy": ["--userland-proxy=false", "--ipv6", "--fixed-cidr-v6=2001:db8:1::/64"],
}


async def explain(host: DockerHost, id_: str) -> dict[str, Any]:
    (text,) = await call(host, "Explain", "s", f"docker:{id_}")
    return dict(json.loads(text))


async def addresses(host: DockerHost, id_: str) -> set[str]:
    """Return where a container is reached, as Explain says it."""
    explained = await explain(host, id_)
    return {place["address"] for port in explained["reachable"] for place in port["places"]}


async def becomes(host: DockerHost, id_: str, health: str) -> str:
    """Wait until a container has a health, and return the detail."""

    async def detail() -> list[str]:
        shown = await instance(host, id_)
        return [shown["HealthDetail"]] if shown["Health"] == health else []

    (found,) = await eventually(detail, f"it is {health}")
    return str(found)


def browsed(host: DockerHost) -> set[tuple[str, str]]:
    return {(one.name, one.address) for one in host.peer.browse("_http._tcp")}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
async def test_container_is_healthy_by_any_family_and_only_if_it_serves(
    tmp_path: Path, options: list[str]
) -> None:
    if reason := dockerd.missing() or lan.missing():
        require("docker", reason)
    with docker_host(tmp_path, *options) as host:
        async with agent(host, tmp_path) as running:
            served = host.serve("served", "--publish=18080:80", *CHECKED)
            silent = host.serve("silent", "--publish=18081:81", *CHECKED)
            both = {"192.0.2.1", "2001:db8::1"}
            await becomes(host, served, "healthy")
            await becomes(host, silent, "unhealthy")
            await eventually(lambda: is_reached(host, served, both), "it is reached by both")
            await eventually(lambda: names(host) == {"served"}, "the peer finds one of them")
            host.box.run("sysctl", "-w", *NO_IPV6)
            only = {"192.0.2.1"}
            await eventually(lambda: is_reached(host, served, only), "it is reached by IPv4 only")
            later = host.serve("later", "--publish=18082:80", *CHECKED)
            await becomes(host, later, "healthy")
            await becomes(host, served, "healthy")
            assert f"docker:{served}: unhealthy" not in running.log()
            assert host.peer_gets("http://192.0.2.1:18080/bin/busybox")
            found = {("served", "192.0.2.1"), ("later", "192.0.2.1")}
            await eventually(lambda: found <= browsed(host), "the peer finds them")


def names(host: DockerHost) -> set[str]:
    return {name for name, _ in browsed(host)}


async def past_this_host(host: DockerHost, id_: str) -> dict[str, Any] | None:
    """Return a container once it is known that this host does not reach it."""
    shown = await instance(host, id_)
    return shown if shown["HealthDetail"].endswith("past this host") else None


async def is_reached(host: DockerHost, id_: str, where: set[str]) -> bool:
    return await addresses(host, id_) == where


async def test_container_with_an_address_on_the_lan_is_not_checked_from_here(
    tmp_path: Path,
) -> None:
    if reason := dockerd.missing() or lan.missing():
        require("docker", reason)
    with docker_host(tmp_path) as host:
        network = ("--subnet=192.0.2.0/24", "--ip-range=192.0.2.128/28", "--opt=parent=lan0")
        host.docker.run("network", "create", "--driver=macvlan", *network, "own")
        async with agent(host, tmp_path):
            own = host.serve("own", "--network=own", "--expose=80", *CHECKED)
            shown = await eventually(lambda: past_this_host(host, own), "it is not checked here")
            (address,) = shown["Addresses"]
            assert shown["Health"] == "unknown"
            assert shown["HealthDetail"].startswith(f"{address} is on lan0 by macvlan or ipvlan")
            await eventually(lambda: is_reached(host, own, {address}), "it is reached there")
            await eventually(lambda: browsed(host) == {("own", address)}, "the peer finds it")
            assert host.peer_gets(f"http://{address}/bin/busybox")


async def test_tasks_behind_one_published_port_are_one_service(tmp_path: Path) -> None:
    if reason := dockerd.missing() or lan.missing():
        require("docker", reason)
    with docker_host(tmp_path) as host:
        host.docker.run("swarm", "init", "--advertise-addr=127.0.0.1")
        labels = [f"--container-label={one}" for one in ("koi.enable=true", "koi.port=80")]
        options = ("--detach", "--no-resolve-image", "--replicas=2", "--publish=18090:80", *labels)
        command = ("koi-busybox", "httpd", "-f", "-p", "80")
        async with agent(host, tmp_path):
            host.docker.run("service", "create", *options, "--name=web", *command)
            await eventually(lambda: decided(host, 2), "both tasks have a port", seconds=90)
            await eventually(lambda: names(host) == {"web"}, "the peer finds one service")
            states = sorted([await service_state(host, id_) for id_ in await published(host)])
            assert states == ["held", "wanted"]


async def service_state(host: DockerHost, id_: str) -> str:
    """Return the decision on the service of a container, "" without one."""
    decisions = (await explain(host, id_))["decisions"]
    return next((one["outcome"] for one in decisions if one["about"] == "port 80/tcp"), "")


async def decided(host: DockerHost, count: int) -> bool:
    """Return True if so many containers run, and there is a decision on the service of each."""
    states = [await service_state(host, id_) for id_ in await published(host)]
    return len(states) == count and all(states)
