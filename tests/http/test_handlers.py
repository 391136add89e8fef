"""The responses of all routes, over real sockets."""

import socket
from dataclasses import replace
from typing import Any

import pytest

from koi_agent.core.events import Absent, Lost
from tests.http.serving import Agent, ask, client, serving
from tests.http.things import CHECKED, HOSTILE, SHOP, WEB
from tests.unit.things import container, unit


async def test_runtime_status_has_upstream_form(path: socket.socket) -> None:
    agent = Agent(SHOP, WEB)
    async with serving(agent, path):
        assert (await ask(path, "/v1/runtime/status")).json == {
            "active": True,
            "backend": "systemd,podman",
            "instance_count": 2,
        }


async def test_runtime_status_without_backend_has_null(path: socket.socket) -> None:
    agent = Agent(backends=())
    agent.apply(Absent(backend="systemd", reason="no bus"))
    async with serving(agent, path):
        status = (await ask(path, "/v1/runtime/status")).json
        assert status == {"active": False, "backend": None, "instance_count": 0}


async def test_instance_has_upstream_keys_and_ours(path: socket.socket) -> None:
    agent = Agent(SHOP)
    async with serving(agent, path):
        reply = await ask(path, "/v1/runtime/instances")
    assert reply.headers["content-type"] == "application/json"
    (shown,) = reply.json
    discovered = shown.pop("discovered_at")
    assert discovered.endswith("Z")
    assert discovered[10] == "T"
    assert shown == shown | {
        "id": SHOP.id,
        "name": "shop",
        "ports": [
            {
                "host_port": 8080,
                "container_port": 80,
                "protocol": "tcp",
                "host_ip": "0.0.0.0",
                "source": "published",
                "interface": None,
                "ipv6_only": False,
                "type": "_http._tcp",
            }
        ],
        "ips": ["172.17.0.2"],
        "metadata": {
            "enable": True,
            "name": "The shop",
            "txt": {"path": "/"},
            "enabled_by": "explicit",
            "ports": {"53/udp": {"type": "_dns._udp"}},
        },
        "backend": "podman",
        "state": "running",
        "image": "docker.io/library/shop:1",
        "project": "market",
        "replica": 2,
        "key": f"podman:{SHOP.id}",
        "state_detail": "running",
        "health": "unhealthy",
        "health_detail": "exit 1",
        "unit": None,
        "control_group": None,
        "main_pid": None,
        "invocation_id": None,
        "created_at": "2023-11-14T22:13:20.000001Z",
        "stale": False,
        "announcements": [],
    }


async def test_image_is_left_out_and_other_unknown_values_are_null(path: socket.socket) -> None:
    agent = Agent(replace(WEB, created_at=2**62))
    async with serving(agent, path):
        (shown,) = (await ask(path, "/v1/runtime/instances")).json
    assert "image" not in shown
    assert (shown["project"], shown["replica"], shown["created_at"]) == (None, None, None)


async def test_list_is_current_after_each_event(path: socket.socket) -> None:
    agent = Agent(WEB)
    async with serving(agent, path), client(path) as one:
        for pid in (1, 2):
            agent.update(replace(WEB, main_pid=pid))
            (shown,) = (await one.ask("/v1/runtime/instances")).json
            assert shown["main_pid"] == pid
        agent.remove(WEB)
        assert (await one.ask("/v1/runtime/instances")).json == []


@pytest.mark.parametrize("asked", ["web.service", "systemd:web.service", "systemd%3Aweb%2Eservice"])
async def test_instance_is_found_by_id_and_by_key(path: socket.socket, asked: str) -> None:
    async with serving(Agent(WEB), path):
        reply = await ask(path, f"/v1/runtime/instances/{asked}")
    assert reply.json["key"] == "systemd:web.service"


@pytest.mark.parametrize("asked", ["default/web", "default%2Fweb", "podman:default/web"])
async def test_id_can_have_slashes(path: socket.socket, asked: str) -> None:
    async with serving(Agent(container("default/web")), path):
        reply = await ask(path, f"/v1/runtime/instances/{asked}")
    assert reply.json["id"] == "default/web"


async def test_hostile_names_are_escaped(path: socket.socket) -> None:
    async with serving(Agent(HOSTILE), path):
        (shown,) = (await ask(path, "/v1/runtime/instances")).json
        reply = await ask(path, "/v1/runtime/instances/a%5Cx2db/../%1B")
    assert shown["name"] == HOSTILE.name.replace("\x00", "\ufffd")
    assert shown["id"] == HOSTILE.id.replace("\udc80", "?")
    assert reply.status == 404
    assert b"\x1b" not in reply.body


async def test_id_of_two_backends_is_ambiguous(path: socket.socket) -> None:
    async with serving(Agent(unit("twin"), container("twin")), path):
        reply = await ask(path, "/v1/runtime/instances/twin")
    assert reply.status == 409
    assert reply.json == {
        "error": "ambiguous_id",
        "message": "more than one instance has this id: systemd:twin, podman:twin",
    }


@pytest.mark.parametrize(
    "asked",
    ["shop", "podman:shop", "9f2c9f2c9f2c", "9f2c", "The%20shop", "the%20shop", "podman:9f2c"],
)
async def test_instance_is_found_by_a_name_that_it_alone_has(
    path: socket.socket, asked: str
) -> None:
    async with serving(Agent(SHOP, WEB), path):
        reply = await ask(path, f"/v1/runtime/instances/{asked}")
    assert reply.json["key"] == str(SHOP.key)


async def test_instance_is_found_by_the_alias_of_its_unit(path: socket.socket) -> None:
    async with serving(Agent(replace(WEB, aliases=("site.service",))), path):
        for asked in ("web", "site", "site.service", "systemd:site"):
            reply = await ask(path, f"/v1/runtime/instances/{asked}")
            assert reply.json["aliases"] == ["site.service"], asked


async def test_name_of_two_instances_is_ambiguous(path: socket.socket) -> None:
    shops = [replace(container(id_ * 12), name="shop") for id_ in ("0123", "0199")]
    async with serving(Agent(*shops), path):
        for asked in ("shop", "01"):
            reply = await ask(path, f"/v1/runtime/instances/{asked}")
            assert (reply.status, reply.json["error"]) == (409, "ambiguous_name"), asked


@pytest.mark.parametrize(
    "asked", ["nobody", "*", "w%3Fb", "systemd:", "%", "%zz", "\u00e9".encode().hex()]
)
async def test_unknown_id_is_not_found(path: socket.socket, asked: str) -> None:
    async with serving(Agent(WEB), path):
        reply = await ask(path, f"/v1/runtime/instances/{asked}")
    assert reply.status == 404
    assert reply.json["error"] == "not_found"


async def test_backends_have_state_and_last_error(path: socket.socket) -> None:
    agent = Agent(WEB)
    agent.apply(Lost(backend="systemd", reason="gone"))
    async with serving(agent, path):
        systemd, podman = (await ask(path, "/v1/runtime/backends")).json
    assert systemd["state"] == "stale"
    assert systemd["last_error"] == "gone"
    assert systemd["instances"] == 1
    assert podman["state"] == "synced"
    assert podman["last_sync"].endswith("Z")


async def test_health_has_results_of_runtimes(path: socket.socket) -> None:
    async with serving(Agent(SHOP, WEB), path):
        shown = (await ask(path, "/v1/health/status")).json
    health = {"key": str(SHOP.key), "name": "shop", "health": "unhealthy", "detail": "exit 1"}
    assert shown == {"machines": [], "services": [], "instances": [health]}


async def test_checks_have_upstream_form_and_key(path: socket.socket) -> None:
    agent = Agent(SHOP)
    agent.apply(CHECKED)
    async with serving(agent, path):
        shown = (await ask(path, "/v1/health/status")).json
    assert shown["services"] == [
        {
            "name": "runtime:The shop",
            "key": str(SHOP.key),
            "kind": "http",
            "target": "http://[::1]:8080/up",
            "interval_secs": 2,
            "timeout_secs": 1,
            "status": "down",
            "last_checked": "2023-11-14T22:13:20.000007Z",
            "last_ok": None,
            "message": "HTTP 500",
        }
    ]


async def test_agent_status_has_upstream_form(path: socket.socket) -> None:
    async with serving(Agent(SHOP), path):
        shown = (await ask(path, "/v1/status")).json
    assert shown.pop("uptime_secs") >= 0
    summary = "systemd: 0 instances, podman: 1 instances"
    assert shown == {
        "version": "1.2.3",
        "platform": "linux",
        "daemon": True,
        "state": "running",
        "capabilities": [{"name": "runtime", "summary": summary, "healthy": True}],
    }


@pytest.mark.parametrize(
    ("state", "status", "body"),
    [
        ("running", 200, {"status": "ok"}),
        ("reloading", 200, {"status": "ok"}),
        ("degraded", 200, {"status": "degraded"}),
        ("starting", 503, {"error": "not_serving", "message": "koi-runtime is starting"}),
        ("stopping", 503, {"error": "not_serving", "message": "koi-runtime is stopping"}),
    ],
)
async def test_healthz_fails_while_starting_or_stopping(
    path: socket.socket, state: str, status: int, body: dict[str, Any]
) -> None:
    agent = Agent()
    agent.status = replace(agent.status, state=state)
    async with serving(agent, path):
        reply = await ask(path, "/healthz")
    assert (reply.status, reply.json) == (status, body)


async def test_headers_forbid_caching_and_have_no_version(path: socket.socket) -> None:
    async with serving(Agent(), path):
        for target in ("/v1/runtime/status", "/nowhere"):
            headers = (await ask(path, target)).headers
            assert headers["server"] == "koi-runtime"
            assert headers["cache-control"] == "no-store"
            assert not any(name.startswith("access-control") for name in headers)


async def test_index_names_every_path(path: socket.socket) -> None:
    async with serving(Agent(SHOP), path):
        index = (await ask(path, "/")).json
        described = (await ask(path, "/openapi.json")).json
    assert index["name"] == "koi-runtime"
    assert index["paths"].keys() == described["paths"].keys()
    assert index["paths"]["/v1/runtime/instances"] == "All instances."


async def test_unknown_path_has_upstream_error_form(path: socket.socket) -> None:
    async with serving(Agent(), path), client(path) as one:
        for target in ("//", "/v1", "/v1/runtime/instances/", "/v1/runtime/status/", "//healthz"):
            reply = await one.ask(target)
            assert (reply.status, reply.json["error"]) == (404, "not_found"), target
            assert reply.json["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_are_refused(path: socket.socket, method: str) -> None:
    async with serving(Agent(), path):
        reply = await ask(path, "/v1/runtime/instances", method=method)
    assert (reply.status, reply.json["error"]) == (405, "method_not_allowed")
    assert reply.headers["allow"] == "get, head"


async def test_body_is_refused(path: socket.socket) -> None:
    async with serving(Agent(), path), client(path) as one:
        one.send("/v1/status", "Content-Length: 2")
        one.writer.write(b"{}")
        reply = await one.reply()
        assert (reply.status, reply.json["error"]) == (400, "invalid_payload")
        assert await one.ended()


async def test_head_has_headers_of_get(path: socket.socket) -> None:
    async with serving(Agent(SHOP, WEB), path), client(path) as one:
        for target in ("/v1/runtime/instances", "/v1/runtime/status", "/metrics", "/nowhere"):
            head = await one.ask(target, method="HEAD")
            get = await one.ask(target)
            assert head.status == get.status
            if target != "/metrics":  # its numbers have grown by then
                assert head.headers["content-length"] == get.headers["content-length"]
        events = await one.ask("/v1/runtime/events", method="HEAD")
        assert events.headers["allow"] == "get"
