"""Scrape targets: which instances have one, and where it answers."""

import socket
from dataclasses import replace

import pytest

from koi_agent.core.instance import KoiMetadata, PortMapping, Protocol
from tests.http.serving import Told, ask, serving
from tests.http.things import HTTP, SHOP, WEB


async def test_targets_are_those_that_opted_in(path: socket.socket) -> None:
    other = replace(WEB, ports=(replace(HTTP, host_port=9090, container_port=9090),))
    out = replace(other, id="no.service", metadata=KoiMetadata(enable=False))
    async with serving(Told(SHOP, other, out), path):
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
async def test_a_target_is_where_the_port_answers(
    path: socket.socket, port: PortMapping, ips: tuple[str, ...], target: str | None
) -> None:
    async with serving(Told(replace(SHOP, ports=(port,), ips=ips)), path):
        found = (await ask(path, "/v1/sd/prometheus")).json
    assert [group["targets"] for group in found] == ([[target]] if target else [])


async def test_the_port_that_its_owner_names_is_the_target(path: socket.socket) -> None:
    told = Told(
        replace(
            SHOP,
            ports=(HTTP, replace(HTTP, container_port=9100, host_port=9100)),
            metadata=KoiMetadata(enable=True, port=9100),
        )
    )
    async with serving(told, path):
        (group,) = (await ask(path, "/v1/sd/prometheus")).json
    assert group["targets"] == ["127.0.0.1:9100"]


async def test_target_that_restarts_never_leaves(path: socket.socket) -> None:
    told = Told(SHOP)
    async with serving(told, path):
        told.lose(SHOP, "exited with 0")
        listed = (await ask(path, "/v1/runtime/instances")).json
        gone = (await ask(path, "/v1/sd/prometheus")).json
        told.see(replace(SHOP, ports=(replace(HTTP, host_port=8081),)))
        back = (await ask(path, "/v1/sd/prometheus")).json
        told.lose(SHOP, "exited with 0")
        told.grace.seconds = 0.0
        over = (await ask(path, "/v1/sd/prometheus")).json
    assert listed == []
    assert [group["targets"] for group in gone] == [["127.0.0.1:8080"]]
    assert [group["targets"] for group in back] == [["127.0.0.1:8081"]]
    assert over == []


async def test_target_that_was_removed_leaves_at_once(path: socket.socket) -> None:
    told = Told(SHOP)
    async with serving(told, path):
        told.lose(SHOP, "removed")
        assert (await ask(path, "/v1/sd/prometheus")).json == []
