"""The fake Koi daemon answers as the real one does: also where that is odd."""

from typing import Any

import pytest

from tests.unit.fake_koi import Clock, FakeKoi
from tests.unit.fake_koi_wire import Answer, Request

WEB: Any = {"name": "web", "type": "_http._tcp", "port": 8080}
FULL = "web._http._tcp.local."


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def koi(clock: Clock) -> FakeKoi:
    return FakeKoi(clock)


def announced(koi: FakeKoi, **more: Any) -> str:
    """Announce a service, and return its ID."""
    answer = koi.call("POST", "/v1/mdns/announce", {**WEB, **more})
    assert answer.status == 201
    id_: str = answer.json()["registered"]["id"]
    return id_


def states(koi: FakeKoi) -> dict[str, str]:
    """Return the states of all registrations, except Koi's own."""
    listed = koi.call("GET", "/v1/mdns/admin/ls").json()
    return {one["id"]: one["state"] for one in listed if one["type"] != "_mcp._tcp"}


def error(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]


def test_a_lease_drains_and_then_ends(koi: FakeKoi, clock: Clock) -> None:
    id_ = announced(koi, lease_secs=1)
    clock.now += 4.9
    assert states(koi) == {id_: "alive"}  # until the next sweep
    clock.now += 0.2
    assert states(koi) == {id_: "draining"}
    assert FULL in koi.mdns.air
    clock.now += 31
    assert states(koi) == {}
    assert koi.mdns.network[-2:] == [("goodbye", "koi-host.local."), ("goodbye", FULL)]
    assert error(koi.call("PUT", f"/v1/mdns/heartbeat/{id_}")) == (404, "not_found")


def test_a_heartbeat_renews_a_lease_and_revives_it(koi: FakeKoi, clock: Clock) -> None:
    id_ = announced(koi)
    for _ in range(4):
        clock.now += 60
        answer = koi.call("PUT", f"/v1/mdns/heartbeat/{id_}")
        assert answer.json() == {"renewed": {"id": id_, "lease_secs": 90}}
    clock.now += 95
    assert states(koi) == {id_: "draining"}
    koi.call("PUT", f"/v1/mdns/heartbeat/{id_}")
    assert states(koi) == {id_: "alive"}
    assert [one for one in koi.mdns.network if one[0] == "goodbye"] == []


def test_a_service_that_drains_is_taken_up_again(koi: FakeKoi, clock: Clock) -> None:
    id_ = announced(koi)
    clock.now += 95
    assert announced(koi, ip="192.168.1.9") == id_
    assert koi.mdns.air[FULL]["ip"] is None  # a new address is missed
    koi.call("POST", f"/v1/mdns/admin/drain/{id_[:4]}")
    assert announced(koi, port=8081) == id_
    assert koi.mdns.air[FULL]["port"] == 8081


def test_two_services_of_one_name_are_silenced_together(koi: FakeKoi) -> None:
    first, second = announced(koi), announced(koi)
    other_spelling = announced(koi, type="http")
    assert len({first, second, other_spelling}) == 3
    koi.call("DELETE", f"/v1/mdns/unregister/{first}")
    assert states(koi) == {second: "alive", other_spelling: "alive"}
    assert FULL not in koi.mdns.air


def test_a_name_with_a_dot_stays_announced(koi: FakeKoi) -> None:
    id_ = announced(koi, name="Web.example")
    koi.call("DELETE", f"/v1/mdns/unregister/{id_}")
    assert "web\\.example._http._tcp.local." in koi.mdns.air


def test_an_address_is_that_of_the_host_from_then_on(koi: FakeKoi) -> None:
    announced(koi, ip="192.168.1.9")
    assert koi.mdns.addresses == {"192.168.1.9"}


def test_drain_and_revive_return_what_was_sent(koi: FakeKoi) -> None:
    id_ = announced(koi)
    path = "/v1/mdns/admin"
    assert koi.call("POST", f"{path}/drain/{id_[:6]}").json() == {"drained": id_[:6]}
    assert error(koi.call("POST", f"{path}/drain/{id_}")) == (409, "already_draining")
    assert koi.call("POST", f"{path}/revive/{id_}").json() == {"revived": id_}
    assert error(koi.call("POST", f"{path}/revive/{id_}")) == (409, "not_draining")
    assert error(koi.call("PUT", f"/v1/mdns/heartbeat/{id_[:6]}")) == (404, "not_found")
    for _ in range(16):
        announced(koi)
    digits = [one[0] for one in states(koi)]  # 17 of them, so one begins two IDs
    digit = next(one for one in digits if digits.count(one) > 1)
    assert error(koi.call("POST", f"{path}/drain/{digit}")) == (400, "ambiguous_id")


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"lease_secs": 0}, 400, "invalid_payload"),
        ({"type": "_much-too-long-type._tcp"}, 400, "invalid_type"),
        ({"type": "_http._sctp"}, 400, "invalid_type"),
        ({"ip": "nowhere"}, 500, "daemon_error"),
        ({"txt": {"key": "x" * 252}}, 500, "daemon_error"),
    ],
)
def test_bad_services_are_refused(koi: FakeKoi, more: Any, status: int, code: str) -> None:
    answer = koi.call("POST", "/v1/mdns/announce", {**WEB, **more})
    assert error(answer) == (status, code)
    assert states(koi) == {}


@pytest.mark.parametrize("more", [{"name": ""}, {"name": "x" * 70}, {"port": 0}])
def test_other_bad_services_are_accepted(koi: FakeKoi, more: Any) -> None:
    assert announced(koi, **more)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"name":"\\ud800","ip":"10.0.0.1"}', "application/json", 400),
        (b'{"name":"web"}', "application/json", 422),
        (b'{"name":1,"ip":"10.0.0.1"}', "application/json", 422),
        (b'{"name":"web","ip":"10.0.0.1","ttl":-1}', "application/json", 422),
        (b'{"name":"web","ip":"10.0.0.1"}', "", 415),
        (b" " * (2 * 1024 * 1024 + 1), "application/json", 413),
    ],
)
def test_a_body_that_is_not_read_is_answered_in_plain_text(
    koi: FakeKoi, body: bytes, kind: str, status: int
) -> None:
    fields = {"x-koi-token": koi.token, "content-type": kind}
    answer = koi.answer(Request("POST", "/v1/dns/add", fields, body))
    assert (answer.status, answer.kind) == (status, "text/plain; charset=utf-8")
    assert koi.names.held == []


def test_a_change_needs_the_token_of_this_start(koi: FakeKoi) -> None:
    old = koi.token
    koi.start()
    assert (len(old), old == koi.token) == (43, False)
    for token in ("", old):
        refused = koi.answer(Request("POST", "/v1/dns/add", {"x-koi-token": token}, b"{"))
        assert error(refused) == (401, "unauthorized")
    assert koi.answer(Request("GET", "/v1/dns/entries", {}, b"")).json() == {"entries": []}


def test_a_restart_keeps_all_but_mdns(koi: FakeKoi) -> None:
    id_ = announced(koi)
    koi.call("POST", "/v1/dns/add", {"name": "web", "ip": "10.0.0.1"})
    koi.call("POST", "/v1/health/add", {"name": "web", "kind": "tcp", "target": "10.0.0.1:80"})
    proxied(koi, "web")
    koi.start()
    assert (len(koi.names.held), len(koi.checks.held), len(koi.proxies.held)) == (1, 1, 1)
    assert states(koi) == {}
    assert error(koi.call("PUT", f"/v1/mdns/heartbeat/{id_}")) == (404, "not_found")
    assert list(koi.mdns.air) == ["koi mcp (koi-host)._mcp._tcp.local."]


def test_a_name_has_one_address_in_the_zone(koi: FakeKoi) -> None:
    koi.call("POST", "/v1/dns/add", {"name": "Web", "ip": "10.0.0.1"})
    answer = koi.call("POST", "/v1/dns/add", {"name": "web.internal.", "ip": "10.0.0.2", "ttl": 9})
    entry = {"name": "web.internal.", "ip": "10.0.0.2", "ttl": 9}
    assert answer.json() == {"entries": [entry]}
    koi.call("POST", "/v1/dns/add", {"name": "public", "ip": "192.0.2.1"})
    assert koi.call("GET", "/v1/dns/list").json() == {"names": ["web.internal."]}
    assert koi.call("GET", "/v1/dns/status").json()["records"]["static_entries"] == 1
    outside = {"name": "web.example", "ip": "10.0.0.1"}
    assert error(koi.call("POST", "/v1/dns/add", outside)) == (400, "invalid_name")
    assert error(koi.call("DELETE", "/v1/dns/remove/gone")) == (404, "not_found")
    assert koi.call("DELETE", "/v1/dns/remove/w%65b").status == 200


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"kind": "udp"}, "invalid_check_kind"),
        ({"name": " "}, "name is required"),
        ({"interval_secs": 0}, "interval must be > 0"),
        ({"target": "[::1]:80"}, "TCP target port must be a number"),
        ({"target": "web"}, "TCP target must be host:port"),
        ({"kind": "HTTP", "target": "ftp://web/"}, "URL must be http or https"),
        ({"name": "web"}, "check already exists: web"),
    ],
)
def test_bad_checks_are_refused(koi: FakeKoi, more: Any, reason: str) -> None:
    check = {"name": "new", "kind": "tcp", "target": "10.0.0.1:80"}
    assert koi.call("POST", "/v1/health/add", {**check, "name": "web"}).status == 200
    answer = koi.call("POST", "/v1/health/add", {**check, **more})
    assert (answer.status, answer.json()["message"]) == (400, reason)


def test_a_check_has_a_result_when_it_has_run(koi: FakeKoi) -> None:
    koi.call("POST", "/v1/health/add", {"name": "a:b/c", "kind": "tcp", "target": "10.0.0.1:80"})
    proxied(koi, "web")
    assert health(koi) == {"a:b/c": "unknown", "proxy:web": "unknown"}
    koi.checks.results["a:b/c"] = "down"
    assert health(koi)["a:b/c"] == "down"
    assert koi.call("DELETE", "/v1/health/remove/a%3Ab%2Fc").status == 200
    assert health(koi) == {"proxy:web": "unknown"}


def health(koi: FakeKoi) -> dict[str, str]:
    services = koi.call("GET", "/v1/health/status").json()["services"]
    return {one["name"]: one["status"] for one in services}


def test_a_proxy_whose_port_is_taken_is_accepted(koi: FakeKoi) -> None:
    for name in ("a", "b"):
        assert proxied(koi, name).json() == {"status": "ok"}
    assert listeners(koi) == {"a": "starting", "b": "error"}
    assert listeners(koi) == {"a": "running", "b": "error"}
    koi.call("DELETE", "/v1/proxy/remove/a")
    assert listeners(koi) == {"b": "error"}  # it is not tried again
    proxied(koi, "b", backend="http://127.0.0.1:81")
    assert listeners(koi) == {"b": "starting"}


def test_a_changed_proxy_may_find_its_own_port_taken(koi: FakeKoi) -> None:
    proxied(koi, "a")
    koi.proxies.collisions = 1
    proxied(koi, "a", backend="http://127.0.0.1:81")
    assert listeners(koi) == {"a": "error"}
    proxied(koi, "a", backend="http://127.0.0.1:81")
    assert listeners(koi) == {"a": "error"}  # the same entry again changes nothing
    koi.call("DELETE", "/v1/proxy/remove/a")
    proxied(koi, "a", backend="http://127.0.0.1:81")
    assert listeners(koi) == {"a": "starting"}


def test_another_proxy_may_win_a_port_after_a_restart(koi: FakeKoi) -> None:
    for name in ("a", "b"):
        proxied(koi, name)
    koi.start()
    assert listeners(koi) == {"a": "error", "b": "starting"}


def proxied(koi: FakeKoi, name: str, **more: Any) -> Answer:
    """Add a proxy."""
    proxy = {"name": name, "listen_port": 443, "backend": "http://127.0.0.1:80"}
    return koi.call("POST", "/v1/proxy/add", {**proxy, **more})


def listeners(koi: FakeKoi) -> dict[str, str]:
    proxies = koi.call("GET", "/v1/proxy/status").json()["proxies"]
    return {one["name"]: one["state"] for one in proxies}


def test_a_proxy_to_another_host_needs_permission(koi: FakeKoi) -> None:
    backend = "http://10.0.0.1:80"
    assert error(proxied(koi, "a", backend=backend)) == (400, "invalid_payload")
    assert proxied(koi, "a", backend=backend, allow_remote=True).status == 200
    assert error(koi.call("DELETE", "/v1/proxy/remove/b")) == (404, "not_found")


def test_a_capability_that_is_disabled_is_unavailable(koi: FakeKoi) -> None:
    assert error(koi.call("GET", "/v1/runtime/instances")) == (503, "capability_disabled")
    koi.disabled.add("mdns")
    assert error(koi.call("POST", "/v1/mdns/announce", WEB)) == (503, "capability_disabled")
    shown = {
        one["name"]: one["healthy"] for one in koi.call("GET", "/v1/status").json()["capabilities"]
    }
    assert (shown["mdns"], shown["dns"]) == (False, True)


def test_leases_are_refused_on_request(koi: FakeKoi) -> None:
    id_ = announced(koi)
    koi.refuses_leases = True
    assert error(koi.call("POST", "/v1/mdns/announce", WEB)) == (500, "daemon_error")
    assert error(koi.call("PUT", f"/v1/mdns/heartbeat/{id_}")) == (404, "not_found")


def test_unknown_paths_and_methods_are_answered_without_a_body(koi: FakeKoi) -> None:
    assert koi.call("GET", "/v1/nothing") == Answer(404)
    assert koi.call("DELETE", "/v1/dns/add") == Answer(405)
    assert koi.call("DELETE", "/v1/dns/remove/%ff").status == 400
