"""Scrape targets for Prometheus: which instances have one, and its address."""

import socket
from dataclasses import replace

import pytest

from koi_agent.core.instance import KoiMetadata, PortMapping, Protocol
from tests.http.serving import Agent, ask, serving
from tests.http.things import HTTP, SHOP, WEB


async def test_targets_opted_in(path: socket.socket) -> None:
    other = replace(WEB, ports=(replace(HTTP, host_port=9090, container_port=9090),))
    out = replace(other, id="no.service", metadata=KoiMetadata(enable=False))
    async with serving(Agent(SHOP, other, out), path):
        chosen = (await ask(path, "/v1/sd/prometheus")).json
        every = (await ask(path, "/v1/sd/prometheus?include=discovered")).json
    labels = {
        "__meta_koi_name": "The shop",
        "__meta_koi_source": "runtime",
        "__meta_koi_service_type": "_http._tcp",
        "__meta_koi_backend": "podman",
        "__meta_koi_id": SHOP.id,
        "__meta_koi_health": "down",
    }
    assert chosen == [{"targets": ["127.0.0.1:8080"], "labels": labels}]
    assert [group["targets"] for group in every] == [["127.0.0.1:8080"], ["127.0.0.1:9090"]]


@pytest.mark.parametrize(
    ("port", "ips", "target"),
    [
        (replace(HTTP, host_ip=""), (), "127.0.0.1:8080"),
        (replace(HTTP, host_ip="::"), (), "127.0.0.1:8080"),
        (replace(HTTP, host_ip="192.0.2.7"), (), "192.0.2.7:8080"),
        (replace(HTTP, host_ip="2001:db8::7"), (), "[2001:db8::7]:8080"),
        (replace(HTTP, host_ip="127.0.0.1"), (), "127.0.0.1:8080"),
        (replace(HTTP, host_port=0), ("10.0.0.2",), "10.0.0.2:80"),
        (replace(HTTP, host_port=0), ("fd00::2",), "[fd00::2]:80"),
        (replace(HTTP, host_port=0), (), None),
        (replace(HTTP, host_ip="nonsense"), (), None),
        (replace(HTTP, protocol=Protocol.UDP), (), None),
    ],
)
async def test_target_has_address_of_port(
    path: socket.socket, port: PortMapping, ips: tuple[str, ...], target: str | None
) -> None:
    async with serving(Agent(replace(SHOP, ports=(port,), ips=ips)), path):
        found = (await ask(path, "/v1/sd/prometheus")).json
    assert [group["targets"] for group in found] == ([[target]] if target else [])


async def test_target_is_port_of_metadata(path: socket.socket) -> None:
    agent = Agent(
        replace(
            SHOP,
            ports=(HTTP, replace(HTTP, container_port=9100, host_port=9100)),
            metadata=KoiMetadata(enable=True, port=9100),
        )
    )
    async with serving(agent, path):
        (group,) = (await ask(path, "/v1/sd/prometheus")).json
    assert group["targets"] == ["127.0.0.1:9100"]


async def test_target_stays_over_restart(path: socket.socket) -> None:
    agent = Agent(SHOP)
    async with serving(agent, path):
        agent.remove(SHOP, "exited with 0")
        listed = (await ask(path, "/v1/runtime/instances")).json
        gone = (await ask(path, "/v1/sd/prometheus")).json
        agent.update(replace(SHOP, ports=(replace(HTTP, host_port=8081),)))
        back = (await ask(path, "/v1/sd/prometheus")).json
        agent.remove(SHOP, "exited with 0")
        agent.grace.seconds = 0.0
        over = (await ask(path, "/v1/sd/prometheus")).json
    assert listed == []
    assert [group["targets"] for group in gone] == [["127.0.0.1:8080"]]
    assert [group["targets"] for group in back] == [["127.0.0.1:8081"]]
    assert over == []


async def test_removed_target_leaves_at_once(path: socket.socket) -> None:
    agent = Agent(SHOP)
    async with serving(agent, path):
        agent.remove(SHOP, "removed")
        assert (await ask(path, "/v1/sd/prometheus")).json == []
