"""Any interleaving of changes ends with exactly the wanted routes and all objects of others."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from koi_agent.capabilities.proxy.records import Route
from koi_agent.host.caddy.objects import ID
from tests.unit.caddy_configurations import (
    FILES,
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

    @invariant()
    def each_name_has_a_certificate_of_caddys_own_authority(self) -> None:
        if self.of_others is not None:
            configuration = found(self.caddy)
            servers = configuration.own_servers().values()
            names = {one["match"][0]["host"][0] for server in servers for one in server["routes"]}
            policies = configuration.policies()
            assert names <= {name for one in policies for name in one.get("subjects", ())}

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
