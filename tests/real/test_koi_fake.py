"""The fake Koi daemon and a real one answer the same to the same requests."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.namespaces import wait_until
from tests.real.koi_daemon import RealKoi, koi_daemon
from tests.unit.fake_koi import Clock, FakeKoi
from tests.unit.fake_koi_wire import MEDIA_TYPE, Answer, Request
from tests.world import World

Call = tuple[str, str, object]
WEB: Any = {"name": "web", "type": "_http._tcp", "port": 8080}
CHECK: Any = {"name": "web", "kind": "tcp", "target": "127.0.0.1:9"}
PROXY: Any = {"name": "web", "listen_port": 8443, "backend": "http://127.0.0.1:9"}
VOLATILE = {"registered_at", "last_seen", "remaining_secs", "last_checked", "last_ok", "message"}
"""Values that depend on the time, and texts of results."""
ADD_NAME, ADD_CHECK = "/v1/dns/add", "/v1/health/add"
ADD_PROXY, ANNOUNCE = "/v1/proxy/add", "/v1/mdns/announce"

MDNS: Sequence[Call] = [
    ("POST", ANNOUNCE, WEB),
    ("POST", ANNOUNCE, WEB),
    ("POST", ANNOUNCE, {**WEB, "type": "http", "lease_secs": 7}),
    ("POST", ANNOUNCE, {**WEB, "name": "x" * 70, "txt": {"a": "b", "c": ""}, "other": 1}),
    ("POST", ANNOUNCE, {**WEB, "name": "", "port": 0}),
    ("POST", ANNOUNCE, {**WEB, "lease_secs": None, "ip": None}),
    ("POST", ANNOUNCE, {**WEB, "lease_secs": 0}),
    ("POST", ANNOUNCE, {**WEB, "type": "_http._sctp"}),
    ("POST", ANNOUNCE, {**WEB, "type": "_a._b._c._tcp"}),
    ("POST", ANNOUNCE, {**WEB, "type": "_1234567890123456._tcp"}),
    ("POST", ANNOUNCE, {**WEB, "type": "_http._udp.local."}),
    ("POST", ANNOUNCE, {**WEB, "ip": "nowhere"}),
    ("POST", ANNOUNCE, {**WEB, "ip": ""}),
    ("POST", ANNOUNCE, {**WEB, "txt": {"key": "x" * 252}}),
    ("POST", ANNOUNCE, {**WEB, "txt": {"key": "x" * 251}}),
    ("POST", ANNOUNCE, {**WEB, "txt": {"é": "x"}}),
    ("POST", ANNOUNCE, {**WEB, "txt": {"a=b": "x"}}),
    ("POST", ANNOUNCE, {**WEB, "txt": None}),
    ("POST", ANNOUNCE, {**WEB, "port": 65536}),
    ("POST", ANNOUNCE, {**WEB, "port": "80"}),
    ("POST", ANNOUNCE, {**WEB, "port": 80.0}),
    ("POST", ANNOUNCE, {**WEB, "port": True}),
    ("POST", ANNOUNCE, {"name": "web"}),
    ("GET", "/v1/mdns/admin/ls", None),
    ("PUT", "/v1/mdns/heartbeat/ID0", None),
    ("PUT", "/v1/mdns/heartbeat/ID2", None),
    ("PUT", "/v1/mdns/heartbeat/none", None),
    ("POST", "/v1/mdns/admin/drain/ID0", None),
    ("POST", "/v1/mdns/admin/drain/ID0", None),
    ("GET", "/v1/mdns/admin/ls", None),
    ("POST", ANNOUNCE, {**WEB, "port": 8081}),
    ("POST", "/v1/mdns/admin/revive/ID0", None),
    ("POST", "/v1/mdns/admin/drain/none", None),
    ("DELETE", "/v1/mdns/unregister/ID1", None),
    ("DELETE", "/v1/mdns/unregister/ID1", None),
    ("GET", "/v1/mdns/admin/ls", None),
    ("DELETE", "/v1/mdns/unregister/", None),
]
NAMES: Sequence[Call] = [
    ("POST", ADD_NAME, {"name": "Web", "ip": "10.0.0.1"}),
    ("POST", ADD_NAME, {"name": "b.web.internal.", "ip": "fd00:0::1", "ttl": 30}),
    ("POST", ADD_NAME, {"name": "WEB.internal", "ip": "10.0.0.2", "ttl": None}),
    ("POST", ADD_NAME, {"name": "public", "ip": "192.0.2.1"}),
    ("POST", ADD_NAME, {"name": "bad name", "ip": "10.0.0.3"}),
    ("POST", ADD_NAME, {"name": "internal", "ip": "10.0.0.3"}),
    ("POST", ADD_NAME, {"name": "web.example", "ip": "10.0.0.3"}),
    ("POST", ADD_NAME, {"name": "", "ip": "10.0.0.3"}),
    ("POST", ADD_NAME, {"name": "web", "ip": "10.0.0"}),
    ("POST", ADD_NAME, {"name": "web", "ip": "10.0.0.3", "ttl": 1 << 32}),
    ("POST", ADD_NAME, {"name": "web"}),
    ("GET", "/v1/dns/entries", None),
    ("DELETE", "/v1/dns/remove/b.w%65b", None),
    ("DELETE", "/v1/dns/remove/b.w%65b.internal", None),
    ("DELETE", "/v1/dns/remove/gone", None),
    ("DELETE", "/v1/dns/remove/%ff", None),
    ("DELETE", "/v1/dns/remove/bad%20name", None),
    ("DELETE", "/v1/dns/remove/", None),
    ("DELETE", "/v1/dns/remove/a/b", None),
    ("DELETE", "/v1/dns/add", None),
    ("GET", "/v1/dns/none", None),
]
CHECKS: Sequence[Call] = [
    ("POST", ADD_CHECK, CHECK),
    ("POST", ADD_CHECK, CHECK),
    ("POST", ADD_CHECK, {**CHECK, "name": "a:b/c", "kind": " TCP ", "interval_secs": 3}),
    ("POST", ADD_CHECK, {**CHECK, "name": "h", "kind": "http", "target": "http://127.0.0.1:9/"}),
    ("POST", ADD_CHECK, {**CHECK, "name": "n", "kind": "udp"}),
    ("POST", ADD_CHECK, {**CHECK, "name": " "}),
    ("POST", ADD_CHECK, {**CHECK, "name": "n", "interval_secs": 0}),
    ("POST", ADD_CHECK, {**CHECK, "name": "n", "timeout_secs": 0}),
    ("POST", ADD_CHECK, {**CHECK, "name": "n", "target": "[::1]:80"}),
    ("POST", ADD_CHECK, {**CHECK, "name": "n", "target": "web"}),
    ("POST", ADD_CHECK, {**CHECK, "name": "n", "target": ":80"}),
    ("POST", ADD_CHECK, {**CHECK, "name": "n", "target": "web:65536"}),
    ("POST", ADD_CHECK, {**CHECK, "name": "n", "kind": "http", "target": "ftp://web/"}),
    ("POST", ADD_CHECK, {**CHECK, "name": "n", "kind": "http", "target": "web"}),
    ("POST", ADD_CHECK, {**CHECK, "name": "n", "interval_secs": -1}),
    ("GET", "/v1/health/list", None),
    ("DELETE", "/v1/health/remove/a%3Ab%2Fc", None),
    ("DELETE", "/v1/health/remove/gone", None),
    ("GET", "/v1/health/list", None),
]
PROXIES: Sequence[Call] = [
    ("POST", ADD_PROXY, PROXY),
    ("POST", ADD_PROXY, {**PROXY, "name": "a", "listen_port": 8444, "backend": "127.0.0.1:9"}),
    ("POST", ADD_PROXY, {**PROXY, "name": "n", "backend": "http://10.0.0.1:9"}),
    ("POST", ADD_PROXY, {**PROXY, "name": "n", "backend": "127.0.0.1"}),
    ("POST", ADD_PROXY, {**PROXY, "name": "n", "listen_port": -1}),
    ("POST", ADD_PROXY, {**PROXY, "name": "n", "allow_remote": None}),
    ("POST", ADD_PROXY, {**PROXY, "name": "z", "allow_remote": True, "listen_port": 0}),
    ("GET", "/v1/proxy/list", None),
    ("DELETE", "/v1/proxy/remove/z", None),
    ("DELETE", "/v1/proxy/remove/gone", None),
    ("GET", "/v1/proxy/list", None),
]
RAW = [
    ("application/json", b"{"),
    ("application/json", b""),
    ("application/json", b"\xff"),
    ("application/json", b'{"name":"\\ud800","ip":"10.0.0.1"}'),
    ("application/json", b"[]"),
    ("application/json", b'{"name":"web"}'),
    ("application/json; charset=utf-8", b'{"name":"web"}'),
    ("text/plain", b'{"name":"web","ip":"10.0.0.1"}'),
    ("application/json", b" " * (2 * 1024 * 1024 + 1)),
]


class Daemon(Protocol):
    """A real daemon or the fake."""

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """Answer a request with a valid token."""


def answers(daemon: Daemon, calls: Sequence[Call]) -> list[object]:
    """Return what is compared of the answers; ``ID0`` in a path is the first ID of the answers."""
    ids: list[str] = []
    found: list[object] = []
    for method, path, body in calls:
        *parents, last = path.split("/")
        known = ids[int(last.removeprefix("ID"))] if last.startswith("ID") else last
        answer = daemon.call(method, "/".join([*parents, known]), body)
        if answer.status == 201 and (id_ := answer.json()["registered"]["id"]) not in ids:
            ids.append(id_)
        found.append(compared(answer, ids))
    return found


def compared(answer: Answer, ids: Sequence[str]) -> object:
    """Return status and content. Of plain text, only that it is plain."""
    if not answer.body:
        return answer.status, ""
    if not answer.kind.startswith(MEDIA_TYPE):
        return answer.status, answer.kind
    text = answer.body.decode()
    for number, id_ in enumerate(ids):
        text = text.replace(id_, f"ID{number}")
    return answer.status, ordered(json.loads(text))


def ordered(value: object) -> object:
    """Return JSON without volatile values, and with lists of objects in one order."""
    if isinstance(value, dict) and "error" not in value:
        return {key: key in VOLATILE or ordered(inner) for key, inner in value.items()}
    if isinstance(value, list):
        kept = [ordered(one) for one in value if not is_of_koi(one)]
        return sorted(kept, key=lambda one: json.dumps(one, sort_keys=True))
    return value


def is_of_koi(one: object) -> bool:
    """Return True for what the daemon announces itself."""
    return isinstance(one, dict) and str(one.get("name")).startswith("Koi MCP (")


def raw(daemon: FakeKoi | RealKoi, kind: str, body: bytes) -> object:
    fields = {"x-koi-token": daemon.token, "content-type": kind}
    if isinstance(daemon, FakeKoi):
        return compared(daemon.answer(Request("POST", ADD_NAME, fields, body)), [])
    return compared(daemon.send("POST", ADD_NAME, fields, body), [])


def same(real: Daemon, fake: Daemon, calls: Sequence[Call]) -> None:
    for call, one, other in zip(calls, answers(real, calls), answers(fake, calls), strict=True):
        assert other == one, f"the fake differs at {call}"


def test_the_fake_answers_as_the_real_daemon(world: World, tmp_path: Path) -> None:
    fake = FakeKoi(Clock())
    with koi_daemon(world, tmp_path) as real:
        real.start()
        assert len(real.token) == len(fake.token)
        for calls in (MDNS, NAMES, CHECKS, PROXIES):
            same(real, fake, calls)
        for kind, body in RAW:
            assert raw(fake, kind, body) == raw(real, kind, body), (kind, body[:80])
        real.restart()
        fake.start()
        kept = ("/v1/dns/entries", "/v1/health/list", "/v1/proxy/list", "/v1/mdns/admin/ls")
        same(real, fake, [("GET", path, None) for path in kept])


def test_an_old_token_is_refused_by_both(world: World, tmp_path: Path) -> None:
    fake = FakeKoi(Clock())
    with koi_daemon(world, tmp_path) as real:
        real.start()
        fields = {"x-koi-token": real.token, "content-type": MEDIA_TYPE}
        real.restart()
        old = real.send("PUT", "/v1/mdns/heartbeat/none", fields, b"")
        token = fake.token
        fake.start()
        request = Request("PUT", "/v1/mdns/heartbeat/none", {"x-koi-token": token}, b"")
        assert compared(fake.answer(request), []) == compared(old, [])
        assert real.send("PUT", "/v1/none", {}, b"").status == 401
        assert fake.answer(Request("PUT", "/v1/none", {}, b"")).status == 401


def test_documents_have_the_same_shape(world: World, tmp_path: Path) -> None:
    fake = FakeKoi(Clock())
    with koi_daemon(world, tmp_path) as real:
        real.start()
        for daemon in (real, fake):
            assert daemon.call("POST", ADD_CHECK, CHECK).status == 200
            assert daemon.call("POST", ADD_PROXY, PROXY).status == 200
            assert daemon.call("POST", ADD_NAME, {"name": "web", "ip": "10.0.0.1"}).status == 200
            assert daemon.call("POST", ADD_NAME, {"name": "a", "ip": "192.0.2.1"}).status == 200
        wait_until(
            lambda: real.get("/v1/proxy/status")["proxies"][0]["state"] == "running", "it runs"
        )
        paths = (
            *("/v1/status", "/v1/host", "/v1/dns/status", "/v1/proxy/status", "/v1/health/status"),
            *("/v1/runtime/status", "/v1/udp/status"),
        )
        for path in paths:
            one, other = real.call("GET", path), fake.call("GET", path)
            assert other.status == one.status, path
            assert fits(other.json(), one.json()), path
        names = [daemon.call("GET", "/v1/dns/list").json()["names"] for daemon in (fake, real)]
        assert set(names[0]) <= set(names[1])  # a real one also has names from mDNS
        assert real.call("GET", "/healthz").body == fake.call("GET", "/healthz").body


def test_a_lease_ends_as_with_the_real_daemon(world: World, tmp_path: Path) -> None:
    fake = FakeKoi(time.monotonic)
    with koi_daemon(world, tmp_path) as real:
        real.start()
        for daemon in (real, fake):
            assert daemon.call("POST", ANNOUNCE, {**WEB, "lease_secs": 1}).status == 201
            assert daemon.call("POST", ANNOUNCE, {**WEB, "name": "other"}).status == 201
        for states in ({"web": "alive"}, {"web": "draining"}, {}):
            for daemon in (real, fake):
                expected = {"other": "alive", **states}
                wait_until(
                    lambda: leases(daemon) == expected,  # noqa: B023 - at once
                    f"{type(daemon).__name__} has {expected}",
                    timeout=90,
                )


def leases(daemon: Daemon) -> dict[str, str]:
    """Return the states of registrations by name."""
    listed = daemon.call("GET", "/v1/mdns/admin/ls").json()
    return {one["name"]: one["state"] for one in listed if not is_of_koi(one)}


def fits(value: object, other: object) -> bool:
    """Return True if JSON has the keys and the types of a ``value``; an empty list fits any list.

    A daemon that is newer than the fake has more keys.
    """
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() <= other.keys() and all(
            key in VOLATILE or fits(inner, other[key]) for key, inner in value.items()
        )
    if isinstance(value, list) and isinstance(other, list):
        return all(fits(one, two) for one in value for two in other)
    return type(value) is type(other)
