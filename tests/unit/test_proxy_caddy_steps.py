"""Each step that is sent to Caddy, and what stays as it is."""

import copy
import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.proxy.caddy.steps import obstacles, steps
from koi_agent.capabilities.proxy.records import Route
from koi_agent.config.proxy import CONFIGURED
from koi_agent.core.errors import BadInput
from koi_agent.host.caddy.configuration import Configuration
from koi_agent.host.caddy.objects import ID, Names
from tests.unit.caddy_configurations import (
    FILE,
    FILES,
    NAMES,
    ROUTES,
    converge,
    first,
    found,
    ids,
    others,
    own,
    wanted,
)
from tests.unit.fake_caddy import FakeCaddy
from tests.unit.proxy_routes import route


@pytest.mark.parametrize("file", FILES)
def test_parents_that_are_absent_are_made(file: Any) -> None:
    caddy = FakeCaddy(file)
    routes = [route("a"), route("b", "shop.internal", port=8443)]
    assert converge(caddy, wanted(routes)) == 3
    assert own(caddy.root) == ids(routes)
    assert others(caddy.root) == others(file or {})
    converge(caddy, wanted([]))
    assert own(caddy.root) == []
    assert others(caddy.root) == others(file or {})


def test_the_policy_for_certificates_comes_before_the_route() -> None:
    caddy = FakeCaddy(FILE)
    step = first(caddy, wanted([route()]))
    assert step
    assert step.path == "/config/apps/tls/automation/policies/0"
    assert json.loads(step.body or b"") == {
        "@id": NAMES.policy,
        "subjects": ["wiki.internal"],
        "issuers": [{"module": "internal"}],
    }


def test_a_route_has_its_upstreams_and_no_more() -> None:
    caddy = FakeCaddy(FILE)
    routes = [
        route("b", port=8443, scheme="https", address="::1", to=1),
        route("a", port=8443, scheme="https", address="127.0.0.1", to=1),
    ]
    converge(caddy, wanted(routes))
    assert caddy.root["apps"]["http"]["servers"][NAMES.server(8443)] == {
        "@id": NAMES.server(8443),
        "listen": [":8443"],
        "automatic_https": {"disable_redirects": True},
        "tls_connection_policies": [{}],
        "routes": [
            {
                "@id": f"{NAMES.server(8443)}-wiki.internal",
                "match": [{"host": ["wiki.internal"]}],
                "handle": [
                    {
                        "handler": "reverse_proxy",
                        "upstreams": [{"dial": "127.0.0.1:1"}, {"dial": "[::1]:1"}],
                        "stream_close_delay": "5m",
                        "transport": {"protocol": "http", "tls": {"insecure_skip_verify": True}},
                    }
                ],
                "terminal": True,
            }
        ],
    }


def test_without_a_difference_nothing_is_sent() -> None:
    caddy = FakeCaddy(FILE)
    converge(caddy, wanted([route()]))
    assert first(caddy, wanted([route()])) is None
    assert converge(caddy, wanted([route(to=9090)])) == 1
    assert converge(caddy, wanted([route(to=9090), route("b", "shop.internal")])) == 2


def test_routes_of_an_earlier_run_stay_until_all_are_known() -> None:
    caddy = FakeCaddy(FILE)
    old = [route("a"), route("b", "shop.internal", port=8443)]
    converge(caddy, wanted(old))
    assert converge(caddy, wanted([], is_complete=False)) == 0
    assert converge(caddy, wanted([route("a")], is_complete=False)) == 0
    assert own(caddy.root) == ids(old)
    converge(caddy, wanted([route("a")]))
    assert own(caddy.root) == ids([route("a")])


@pytest.mark.parametrize(
    "listen", [":443", "0.0.0.0:443", "127.0.0.1:443", "tcp/[::]:443", ":440-450", "udp/:443"]
)
def test_a_port_of_another_server_is_left_to_it(listen: str) -> None:
    caddy = FakeCaddy(FILE)
    routes = [route("a"), route("b", "shop.internal", port=8443)]
    converge(caddy, wanted(routes))
    caddy.root["apps"]["http"]["servers"]["srv1"] = {"listen": [listen]}
    assert dict(obstacles(found(caddy), [443, 8443])) == {
        443: "server srv1 of Caddy's own configuration has port 443"
    }
    for what in (wanted(routes, is_complete=False), wanted(routes)):
        while step := first(caddy, what):
            value = caddy.root["apps"]["http"]["servers"].pop("srv1")
            assert caddy.apply(step) == 200
            caddy.root["apps"]["http"]["servers"]["srv1"] = value
        assert own(caddy.root) == ids(routes[1:])


def test_a_name_with_a_policy_of_others_keeps_it() -> None:
    caddy = FakeCaddy(FILE)
    policies = caddy.root["apps"]["tls"]["automation"]["policies"]
    policies.insert(0, {"subjects": ["Wiki.internal"], "issuers": [{"module": "acme"}]})
    converge(caddy, wanted([route()]))
    assert own(caddy.root) == ids([route()], policy=False)
    converge(caddy, wanted([route(), route("b", "shop.internal")]))
    assert caddy.root["apps"]["tls"]["automation"]["policies"][0]["subjects"] == ["shop.internal"]


def test_with_acme_there_is_no_policy_of_the_agent() -> None:
    caddy = FakeCaddy(FILE)
    converge(caddy, wanted([route()]))
    converge(caddy, wanted([route()], issuer=CONFIGURED))
    assert own(caddy.root) == ids([route()], policy=False)


def test_another_issuer_takes_the_place_of_the_one_before() -> None:
    caddy = FakeCaddy(FILE)
    directory = "https://ca.example/directory"

    def issuers() -> Any:
        return caddy.root["apps"]["tls"]["automation"]["policies"][0]["issuers"]

    converge(caddy, wanted([route()], issuer=directory))
    assert issuers() == [{"module": "acme", "ca": directory}]
    assert converge(caddy, wanted([route()])) == 1
    assert issuers() == [{"module": "internal"}]
    assert converge(caddy, wanted([route()], issuer=directory)) == 1
    assert issuers() == [{"module": "acme", "ca": directory}]
    assert own(caddy.root) == ids([route()])


def test_a_policy_for_all_names_comes_after_that_of_the_agent() -> None:
    caddy = FakeCaddy(FILE)
    converge(caddy, wanted([route()]))
    caddy.root["apps"]["tls"]["automation"]["policies"].insert(0, {"subjects": ["*.internal"]})
    assert converge(caddy, wanted([route()])) == 2
    policies = caddy.root["apps"]["tls"]["automation"]["policies"]
    assert [one.get(ID) for one in policies] == [NAMES.policy, None, None, None]


def test_duplicates_and_lost_identifiers_are_repaired() -> None:
    caddy = FakeCaddy(FILE)
    converge(caddy, wanted([route()]))
    server = caddy.root["apps"]["http"]["servers"][NAMES.server(443)]
    policies = caddy.root["apps"]["tls"]["automation"]["policies"]
    server["routes"].append(copy.deepcopy(server["routes"][0]))
    policies.append({ID: NAMES.policy})
    converge(caddy, wanted([route()]))
    assert own(caddy.root) == ids([route()])
    server = caddy.root["apps"]["http"]["servers"][NAMES.server(443)]
    del server[ID]
    server["routes"][0]["match"] = [{"host": ["evil.internal"]}]
    converge(caddy, wanted([route()]))
    assert own(caddy.root) == ids([route()])


def test_a_route_of_others_in_the_server_of_the_agent_stays() -> None:
    caddy = FakeCaddy(FILE)
    converge(caddy, wanted([route()]))
    server = caddy.root["apps"]["http"]["servers"][NAMES.server(443)]
    server["routes"].insert(0, {"match": [{"path": ["/x"]}]})
    server["logs"] = {}
    converge(caddy, wanted([route("a", to=9)]))
    converge(caddy, wanted([]))
    server = caddy.root["apps"]["http"]["servers"][NAMES.server(443)]
    assert server["routes"] == [{"match": [{"path": ["/x"]}]}]
    assert server["logs"] == {}


def test_objects_of_another_agent_are_of_others() -> None:
    caddy = FakeCaddy(FILE)
    theirs = Names("fedcba9876543210")
    configuration = Configuration(root=caddy.root, names=theirs)
    for step in (next(steps(configuration, wanted([route(port=8443)]))),):
        assert caddy.apply(step) == 200
    before = copy.deepcopy(caddy.root)
    converge(caddy, wanted([route("b", "shop.internal")]))
    converge(caddy, wanted([]))
    assert caddy.root == before


@pytest.mark.parametrize(
    "root",
    [
        [],
        "x",
        {"apps": []},
        {"apps": {"http": {"servers": [1]}}},
        {"apps": {"tls": {"automation": {"policies": {}}}}},
    ],
)
def test_a_configuration_that_is_not_understood_is_not_changed(root: Any) -> None:
    with pytest.raises(BadInput, match="of its configuration is not an"):
        next(steps(Configuration(root=root, names=NAMES), wanted([route()])))


KEYS: Final = ("listen", "routes", "subjects", "match", "host", ID)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["listen", "routes", "subjects", ID, "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(server=JSON, mine=JSON, policies=st.lists(JSON, max_size=3), routes=st.lists(ROUTES))
def test_any_content_is_compared_without_an_error(
    server: Any, mine: Any, policies: list[Any], routes: list[Route]
) -> None:
    servers = {"srv0": server, NAMES.server(443): mine}
    root = {"apps": {"http": {"servers": servers}, "tls": {"automation": {"policies": policies}}}}
    for complete in (True, False):
        what = wanted(routes, is_complete=complete)
        list(steps(Configuration(root=root, names=NAMES), what))


@pytest.mark.parametrize(("http", "port"), [({}, 80), ({"http_port": 8080}, 8080)])
def test_a_port_on_which_caddy_has_no_tls_gets_no_route(http: Any, port: int) -> None:
    caddy = FakeCaddy({"apps": {"http": http}})
    assert list(obstacles(found(caddy), [port, 443])) == [port]
    converge(caddy, wanted([route(port=port)]))
    assert own(caddy.root) == []
    converge(caddy, wanted([route()]))
    caddy.root["apps"]["http"]["http_port"] = 443
    converge(caddy, wanted([route()]))
    assert own(caddy.root) == []
