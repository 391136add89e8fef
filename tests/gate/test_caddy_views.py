"""The agent reads of Caddy's configuration what it needs, and nothing else."""

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.capabilities.proxy.caddy.steps import steps
from koi_agent.services.gate.caddy.views import view
from tests.gate.caddy_requests import apply, seen
from tests.unit.caddy_configurations import (
    FILE,
    FILES,
    NAMES,
    ROUTES,
    converge,
    ids,
    own,
    wanted,
)
from tests.unit.fake_caddy import FakeCaddy
from tests.unit.proxy_routes import route

SECRET = "s3cret"
BASIC = {"handler": "authentication", "providers": {"http_basic": {"accounts": [SECRET]}}}
RICH: Any = {
    "admin": {"listen": "unix//run/caddy/admin.sock", "identity": SECRET},
    "logging": {"logs": {"default": {"writer": {"output": "net", "address": SECRET}}}},
    "storage": {"module": "redis", "password": SECRET},
    "apps": {
        "pki": {"certificate_authorities": {"local": {"root": {"private_key": SECRET}}}},
        "http": {
            "http_port": 8080,
            "servers": {
                "srv0": {
                    "listen": [":443", "127.0.0.1:80"],
                    "routes": [{"handle": [BASIC], "match": [{"header": {"Token": [SECRET]}}]}],
                    "errors": {"routes": [BASIC]},
                    "tls_connection_policies": [{"client_authentication": SECRET}],
                }
            },
        },
        "tls": {
            "certificates": {"load_pem": [{"certificate": "x", "key": SECRET}]},
            "automation": {
                "policies": [
                    {"subjects": ["a.example"], "issuers": [{"module": "acme", "email": SECRET}]},
                    {"on_demand": True, "storage": {"password": SECRET}},
                ],
                "on_demand": {"ask": SECRET},
            },
        },
    },
}
OTHER_ROUTE = {"@id": "of others", "handle": [BASIC]}
MORE = {
    "logs": {"default_logger_name": SECRET},
    "automatic_https": {"skip": [SECRET]},
    "tls_connection_policies": [{"client_authentication": SECRET}],
    "strict_sni_host": True,
}


def test_of_others_only_addresses_and_names_are_seen() -> None:
    assert view(RICH, NAMES) == {
        "apps": {
            "http": {"http_port": 8080, "servers": {"srv0": {"listen": [":443", "127.0.0.1:80"]}}},
            "tls": {"automation": {"policies": [{"subjects": ["a.example"]}, {}]}},
        }
    }


def mixed() -> FakeCaddy:
    """Return a Caddy with a server of the agent in which others have something, too."""
    caddy = FakeCaddy(RICH)
    converge(caddy, wanted([route(port=8443)]))
    server = caddy.root["apps"]["http"]["servers"][NAMES.server(8443)]
    server["routes"].insert(0, OTHER_ROUTE)
    server |= MORE
    return caddy


def test_what_others_have_in_a_server_of_the_agent_is_not_seen() -> None:
    caddy = mixed()
    found = seen(caddy)
    server = found.root["apps"]["http"]["servers"][NAMES.server(8443)]
    assert SECRET not in json.dumps(found.root)
    assert server["routes"][0] == {}
    assert (
        server["routes"][1:]
        == caddy.root["apps"]["http"]["servers"][NAMES.server(8443)]["routes"][1:]
    )
    assert set(server) == {"@id", "listen", "routes", "automatic_https", "tls_connection_policies"}


def test_what_others_have_in_a_server_of_the_agent_stays() -> None:
    caddy = mixed()
    direct = FakeCaddy(copy.deepcopy(caddy.root))
    for routes in ([route(port=8443, to=9090)], [route("b", "shop.internal", port=8443)], []):
        through_gate(caddy, routes)
        converge(direct, wanted(routes))
        assert caddy.root == direct.root
    server = caddy.root["apps"]["http"]["servers"][NAMES.server(8443)]
    assert server["routes"] == [OTHER_ROUTE]
    assert server["tls_connection_policies"] == MORE["tls_connection_policies"]
    assert server["automatic_https"] == {"skip": [SECRET], "disable_redirects": True}


def through_gate(caddy: FakeCaddy, routes: Any, **more: bool) -> None:
    """Send all steps of the agent through the gate, none of which may fail."""
    for _ in range(30):
        step = next(steps(seen(caddy), wanted(routes, **more)), None)
        if step is None:
            return
        assert apply(caddy, step) == 200, step
    raise AssertionError("steps have no end")


@given(
    file=st.sampled_from([*FILES, RICH]),
    changes=st.lists(st.tuples(st.lists(ROUTES), st.booleans()), max_size=4),
    keeps=st.booleans(),
)
@settings(deadline=None)
def test_the_agent_makes_the_same_with_and_without_a_gate(
    file: Any, changes: list[tuple[list[Any], bool]], *, keeps: bool
) -> None:
    caddy, direct = FakeCaddy(file), FakeCaddy(file)
    usable: list[Any] = []
    for routes, is_complete in changes:
        usable = [one for one in routes if file is not RICH or one.port != 443]
        through_gate(caddy, usable, is_complete=is_complete, keeps_streams=keeps)
        converge(direct, wanted(usable, is_complete=is_complete, keeps_streams=keeps))
        assert caddy.root == direct.root
    if changes and changes[-1][1]:
        assert own(caddy.root) == ids(usable)


def test_a_route_of_an_earlier_version_stays_until_all_are_known() -> None:
    caddy = FakeCaddy(FILE)
    converge(caddy, wanted([route()]))
    old = caddy.root["apps"]["http"]["servers"][NAMES.server(443)]["routes"][0]
    old["handle"][0]["flush_interval"] = -1
    through_gate(caddy, [route("b", "shop.internal")], is_complete=False)
    assert caddy.root["apps"]["http"]["servers"][NAMES.server(443)]["routes"][1] == old
    through_gate(caddy, [route("b", "shop.internal")])
    assert own(caddy.root) == ids([route("b", "shop.internal")])


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("apps", "http", "servers", "tls", "automation", "policies", "routes"),
                    *("subjects", "listen", "@id", NAMES.server(443), NAMES.policy),
                    "automatic_https",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=20,
)


@given(NESTED)
def test_any_configuration_has_a_view_that_is_its_own_view(root: Any) -> None:
    once = view(root, NAMES)
    assert view(json.loads(json.dumps(once)), NAMES) == once
