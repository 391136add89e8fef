"""The policies and parents that pass the gate of Caddy, and plain JSON."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from koi_agent.capabilities.proxy.caddy.steps import steps
from koi_agent.host.caddy import objects
from koi_agent.host.caddy.configuration import Configuration
from koi_agent.services.gate.caddy.bodies import Changed, parse_body, spelled
from koi_agent.services.gate.caddy.profile import NOTHING
from koi_agent.services.gate.head import Forbidden
from tests.gate.caddy_requests import (
    ALLOWED,
    POLICIES,
    POLICY,
    SERVER,
    own,
    parsed,
    pass_gate,
    seen,
    served,
)
from tests.unit.caddy_configurations import FILE, NAMES, wanted
from tests.unit.fake_caddy import FakeCaddy
from tests.unit.proxy_routes import route

DIRECTORY = "https://ca.example/directory"


@pytest.mark.parametrize(
    "policy",
    [
        {"subjects": []},
        {"subjects": ["*"]},
        {"subjects": ["bank.example"]},
        {"subjects": ["wiki.internal", "bank.example"]},
        {"subjects": ["wiki.internal", "wiki.internal"]},
        {"subjects": ["wiki.internal", "shop.internal"]},
        {"subjects": "wiki.internal"},
        {"subjects": None},
        {"subjects": [1]},
        {"issuers": [{"module": "acme", "ca": "http://127.0.0.1/"}]},
        {"issuers": [{"module": "internal", "ca": "other"}]},
        {"issuers": []},
        {"storage": {"module": "file_system", "root": "/etc"}},
        {"on_demand": True},
        {"get_certificate": [{"via": "http", "url": "http://127.0.0.1/"}]},
        {"@id": "x"},
    ],
)
def test_no_other_policy_passes(policy: Any) -> None:
    made = {
        "@id": NAMES.policy,
        "subjects": ["wiki.internal"],
        "issuers": [{"module": "internal"}],
    }
    root, _ = served()
    assert pass_gate("PATCH", POLICY, made, root) == made
    assert pass_gate("PUT", f"{POLICIES}/0", made, FILE) == made
    for method, path, known in (("PATCH", POLICY, root), ("PUT", f"{POLICIES}/0", FILE)):
        with pytest.raises(Forbidden):
            pass_gate(method, path, made | policy, known)
    nothings: list[Any] = [None, [], [made], "x", {}]
    for nothing in nothings:
        with pytest.raises(Forbidden):
            pass_gate("PATCH", POLICY, nothing, root)


@pytest.mark.parametrize(
    ("allowed", "made", "passes"),
    [
        (DIRECTORY, DIRECTORY, True),
        (DIRECTORY, "internal", True),
        (DIRECTORY, "https://other.example/directory", False),
        (DIRECTORY, "acme", False),
        ("internal", DIRECTORY, False),
        ("acme", DIRECTORY, False),
        ("acme", "acme", False),
        ("acme", "internal", True),
    ],
)
def test_only_the_issuer_of_the_administrator_passes(allowed: str, made: str, passes: bool) -> None:  # noqa: FBT001
    policy = objects.policy(NAMES, {"wiki.internal"}, made)
    found = Configuration(root=served()[0], names=NAMES)
    request = parsed("PATCH", POLICY, {"Content-Length": "9"})
    if passes:
        assert spelled(request, policy, found, replace(ALLOWED, issuer=allowed)) == policy
    else:
        with pytest.raises(Forbidden, match="not as the agent makes it"):
            spelled(request, policy, found, replace(ALLOWED, issuer=allowed))


def with_site(*hosts: str, listen: str = ":8080") -> Any:
    """Return a configuration with a site of others, whose route is within another one."""
    root: Any = copy.deepcopy(FILE)
    inner = {"match": [{"host": list(hosts)}], "handle": [{"handler": "file_server"}]}
    outer = {"handle": [{"handler": "subroute", "routes": [inner]}]}
    root["apps"]["http"]["servers"]["others"] = {"listen": [listen], "routes": [outer]}
    return root


@pytest.mark.parametrize("host", ["wiki.internal", "Wiki.Internal", "*.internal"])
def test_the_certificate_of_a_site_of_others_stays_theirs(host: str) -> None:
    made = objects.policy(NAMES, {"wiki.internal"})
    for other in ("shop.internal", "*.wiki.internal", "internal"):
        assert pass_gate("PUT", f"{POLICIES}/0", made, with_site(other)) == made
    assert pass_gate("PUT", f"{POLICIES}/0", made, with_site(host, listen=":80")) == made
    with pytest.raises(Forbidden, match="of others"):
        pass_gate("PUT", f"{POLICIES}/0", made, with_site("x.example", host))


def test_without_a_proxy_the_agent_only_removes_its_objects() -> None:
    found = Configuration(root=served()[0], names=NAMES)
    removal = parsed("DELETE", POLICY)
    assert spelled(removal, None, found, NOTHING) is None
    added = parsed("PATCH", POLICY, {"Content-Length": "9"})
    with pytest.raises(Forbidden):
        spelled(added, objects.policy(NAMES, {"shop.internal"}), found, NOTHING)


def test_the_agent_asks_for_no_certificate_of_a_site_of_others() -> None:
    caddy = FakeCaddy(with_site("wiki.internal"))
    sites = wanted([route()])
    for found in (Configuration(root=caddy.root, names=NAMES), seen(caddy)):
        assert found.of_others(["wiki.internal", "web.internal"]) == {"wiki.internal"}
        bodies = [(one.body or b"").decode() for one in steps(found, sites)]
        assert bodies
        assert not any('"subjects"' in body for body in bodies)


def test_names_that_caddy_has_in_the_policy_may_stay() -> None:
    root, _ = served()
    policy = root["apps"]["tls"]["automation"]["policies"][0]
    policy["subjects"].append("wiki.old.example")
    assert pass_gate("PATCH", POLICY, policy, root) == policy


@pytest.mark.parametrize(
    ("method", "path", "at"),
    [
        ("POST", "/config/", ()),
        ("POST", "/config/apps", ("apps",)),
        ("PUT", "/config/apps", ("apps",)),
        ("POST", "/config/apps/http", ("apps", "http")),
        ("POST", "/config/apps/http/servers", ("apps", "http", "servers")),
        ("POST", SERVER, ("apps", "http", "servers", NAMES.server(443))),
    ],
)
def test_a_parent_that_exists_is_never_replaced(
    method: str, path: str, at: tuple[str, ...]
) -> None:
    root, _ = served()
    value: Any = own(root)
    for key in reversed(("apps", "http", "servers", NAMES.server(443))[len(at) :]):
        value = {key: value}
    with pytest.raises(Changed):
        pass_gate(method, path, value, root)


@pytest.mark.parametrize(
    "body",
    [
        {"apps": {"http": {"servers": {"x": {"listen": [":1"]}}}}},
        {"apps": {}},
        {"apps": {"http": {"servers": {}}}},
        {"apps": {"http": {"servers": {"srv0": {"listen": [":1"]}}}}},
        {"apps": {"pki": {}}},
        {"apps": {"tls": {"certificates": {}}}},
        {"apps": {"tls": {"automation": {"policies": []}}}},
        {"apps": {"tls": {"automation": {"policies": [{"on_demand": True}]}}}},
        {"apps": {"tls": {"automation": {"policies": {}}}}},
        {"admin": {"disabled": True}},
        {"storage": {}},
        {},
        [],
        None,
        "x",
    ],
)
def test_a_parent_is_made_for_an_object_of_the_agent_only(body: Any) -> None:
    with pytest.raises(Forbidden):
        pass_gate("POST", "/config/", body, None)
    full, _ = served()
    two = {"http": {"servers": {NAMES.server(443): own(full)}}, "tls": {}}
    for more in ({"apps": two}, {"apps": {"http": two["http"]}, "admin": {}}):
        with pytest.raises(Forbidden):
            pass_gate("POST", "/config/", more, None)
    assert pass_gate("POST", "/config/", {"apps": {"http": two["http"]}}, None)


def test_what_others_have_in_a_server_is_neither_removed_nor_moved() -> None:
    root, body = served()
    own(root)["routes"].insert(0, {"handle": [{"handler": "file_server"}]})
    for routes in (body["routes"], [*body["routes"], {}, {}], []):
        with pytest.raises(Changed):
            pass_gate("PATCH", SERVER, body | {"routes": routes}, root)
    with pytest.raises(Changed):
        pass_gate("DELETE", SERVER, None, root)
    made = pass_gate("PATCH", SERVER, body | {"routes": [{}]}, root)
    assert made["routes"] == own(root)["routes"][:1]


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'[{"b":{"a":1,"a":1}}]',
        b'{"a":NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"{} {}",
        b"{}x",
        b"{'a':1}",
        b"\xff\xfe{}",
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"",
        b"1" * 10_000,
    ],
)
def test_a_body_that_is_not_plain_json_is_refused(text: bytes) -> None:
    with pytest.raises(Forbidden):
        parse_body(text)
