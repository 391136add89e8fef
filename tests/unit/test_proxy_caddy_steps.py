"""Any interleaving of changes ends with exactly the wanted routes and all objects of others."""

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from koi_agent.capabilities.proxy.caddy.configuration import Configuration
from koi_agent.capabilities.proxy.caddy.objects import ID, Names
from koi_agent.capabilities.proxy.caddy.steps import Step, Wanted, conflicts, steps
from koi_agent.capabilities.proxy.records import Route
from koi_agent.capabilities.proxy.sites import sites
from koi_agent.core.errors import BadInput
from tests.unit.fake_caddy import FakeCaddy
from tests.unit.proxy_routes import route

NAMES: Final = Names("0123456789abcdef")
OTHER: Final = {
    "listen": [":80"],
    "routes": [{"handle": [{"handler": "static_response", "body": "x"}]}],
}
FILE: Final = {
    "admin": {"listen": "unix//run/caddy/admin.sock"},
    "apps": {
        "http": {"servers": {"srv0": OTHER}},
        "tls": {"automation": {"policies": [{"subjects": ["x.example"]}, {"on_demand": True}]}},
    },
}
FILES: Final[Sequence[Any]] = (
    FILE,
    {},
    {"apps": {}},
    {"apps": None},
    {"apps": {"tls": {}}},
    {"apps": {"tls": {"automation": {"policies": []}}}},
    {"apps": {"tls": {"automation": {"policies": None}}, "http": {"servers": None}}},
    None,
)
ROUTES: Final = st.builds(
    route,
    st.sampled_from("abc"),
    st.sampled_from(["wiki.internal", "shop.internal", "a.home.example"]),
    port=st.sampled_from([443, 8443]),
    to=st.sampled_from([8080, 8081]),
)


def found(caddy: FakeCaddy) -> Configuration:
    return Configuration(root=copy.deepcopy(caddy.root), names=NAMES)


def wanted(routes: Iterable[Route], **more: bool) -> Wanted:
    return Wanted(sites=tuple(sites(routes)), **more)


def first(caddy: FakeCaddy, what: Wanted) -> Step | None:
    return next(steps(found(caddy), what), None)


def converge(caddy: FakeCaddy, what: Wanted) -> int:
    """Send all steps, none of which may fail; return their number."""
    for number in range(30):
        step = first(caddy, what)
        if step is None:
            return number
        assert caddy.apply(step) == 200, (step, caddy.request(*step[:3]))
    raise AssertionError("steps have no end")


def others(value: Any) -> Any:
    """Return a configuration without objects of the agent, and without empty objects."""
    if isinstance(value, dict):
        inner = {key: others(one) for key, one in value.items() if not NAMES.has(one)}
        return {key: one for key, one in inner.items() if one not in ({}, [], None)}
    if isinstance(value, list):
        return [others(one) for one in value if not NAMES.has(one)]
    return value


def own(value: Any) -> list[str]:
    """Return the identifiers of all objects of the agent."""
    if isinstance(value, dict):
        inner = [id_ for one in value.values() for id_ in own(one)]
        return sorted([value[ID], *inner] if NAMES.has(value) else inner)
    if isinstance(value, list):
        return sorted(id_ for one in value for id_ in own(one))
    return []


def ids(routes: Iterable[Route], *, policy: bool = True) -> list[str]:
    all_sites = sites(routes)
    made = {NAMES.server(one.port) for one in all_sites} | {NAMES.route(one) for one in all_sites}
    return sorted(made | {NAMES.policy} if made and policy else made)


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
    assert dict(conflicts(found(caddy), [443, 8443])) == {443: "srv1"}
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
    converge(caddy, wanted([route()], is_internal=False))
    assert own(caddy.root) == ids([route()], policy=False)


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


class Interleaving(RuleBasedStateMachine):
    """Changes of the agent's routes, of Caddy and of others, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.routes: Sequence[Route] = ()
        self.is_complete = False
        self.of_others: Any = None

    @initialize(file=st.sampled_from(FILES))
    def start(self, file: Any) -> None:
        self.caddy = FakeCaddy(file)
        self.of_others = others(file or {})

    @rule(routes=st.lists(ROUTES, max_size=4))
    def want(self, routes: list[Route]) -> None:
        self.routes = routes

    @rule(count=st.integers(1, 3))
    def send_some(self, count: int) -> None:
        """Send some steps; the agent may be killed after any of them."""
        for _ in range(count):
            if step := first(self.caddy, wanted(self.routes, is_complete=self.is_complete)):
                assert self.caddy.apply(step) == 200

    @rule()
    def restart_agent(self) -> None:
        self.is_complete = False

    @rule()
    def complete(self) -> None:
        self.is_complete = True

    @rule()
    def load_file(self) -> None:
        self.caddy.load()
        self.of_others = others(self.caddy.file or {})

    @rule(number=st.integers(0, 2))
    def add_server_of_others(self, number: int) -> None:
        value = {"listen": [f":{9000 + number}"]}
        self.caddy.request("POST", "/config/apps", json.dumps(self._apps(number, value)).encode())
        self.of_others = others(self.caddy.root)

    def _apps(self, number: int, value: Any) -> Any:
        apps = copy.deepcopy((self.caddy.root or {}).get("apps") or {})
        http = apps.get("http") or {}
        http["servers"] = {**(http.get("servers") or {}), f"other{number}": value}
        return {**apps, "http": http}

    @rule()
    def duplicate_a_route(self) -> None:
        for server in (found(self.caddy).own_servers()).values():
            server["routes"] = [*server["routes"], *server["routes"][:1]]
            path = f"/config/apps/http/servers/{server[ID]}"
            self.caddy.request("PATCH", path, json.dumps(server).encode())

    @invariant()
    def others_are_untouched(self) -> None:
        if self.of_others is not None:
            assert others(self.caddy.root or {}) == self.of_others

    def teardown(self) -> None:
        if self.of_others is None:
            return
        converge(self.caddy, wanted(self.routes))
        assert own(self.caddy.root) == ids(self.routes)
        assert others(self.caddy.root or {}) == self.of_others
        before = self.caddy.writes
        converge(self.caddy, replace(wanted(self.routes), is_complete=False))
        assert self.caddy.writes == before


TestInterleaving = Interleaving.TestCase
TestInterleaving.settings = settings(deadline=None)
