"""Configurations of Caddy for tests, and what of them belongs to the agent."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from koi_agent.capabilities.proxy.caddy.steps import Step, Wanted, steps
from koi_agent.capabilities.proxy.records import Route
from koi_agent.capabilities.proxy.sites import sites
from koi_agent.host.caddy.configuration import Configuration
from koi_agent.host.caddy.objects import ID, Names
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


def wanted(routes: Iterable[Route], **more: Any) -> Wanted:
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
    made = {NAMES.server(one.port) for one in all_sites} | {
        NAMES.route(one.port, one.host) for one in all_sites
    }
    return sorted(made | {NAMES.policy} if made and policy else made)
