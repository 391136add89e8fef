"""The responses of a Koi daemon with any JSON in any place: each costs its entry at most."""

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.capabilities.dns import providers as dns
from koi_agent.capabilities.health.kept import Koi as HealthKoi
from koi_agent.capabilities.mdns import providers as mdns
from koi_agent.capabilities.proxy import providers as proxy
from koi_agent.core.contracts import Provider
from koi_agent.core.errors import ProviderLost
from koi_agent.host.koi_daemon.kinds import KINDS
from tests.unit.dns_zones import complete, named
from tests.unit.fake_koi import FakeKoi
from tests.unit.fake_koi_server import served
from tests.unit.fake_koi_wire import Answer, Request, document
from tests.unit.koi_sessions import SETTINGS, opened
from tests.unit.koi_world import bodies
from tests.unit.proxy_routes import route
from tests.unit.test_koi_health import A, B, check
from tests.unit.test_koi_mdns import service
from tests.unit.virtual_time import run

SECONDS: Final = 150
TEXTS: Final = ("", "..", "running", "up", "\udc80", "0001-01-01", "9999-12-31T23:59:59-14:00")
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


class Change(NamedTuple):
    """A value in place of another one in the response to each request to a path."""

    path: int
    place: int
    value: Any


CHANGES: Final = st.lists(
    st.builds(Change, path=st.integers(0, 2), place=st.integers(0, 60), value=JSON),
    min_size=1,
    max_size=3,
)
PATHS: Final[Mapping[str, Sequence[str]]] = {
    "dns": ("/v1/dns/entries", "/v1/dns/status", "/v1/dns/add"),
    "proxy": ("/v1/proxy/list", "/v1/proxy/status", "/v1/proxy/add"),
    "health": ("/v1/health/list", "/v1/health/status", "/v1/health/add"),
    "mdns": ("/v1/mdns/admin/ls", "/v1/mdns/announce", "/v1/mdns/heartbeat"),
}
PROVIDERS: Final[Mapping[str, Provider[Any]]] = {
    "dns": dns.Koi(SETTINGS, 30),
    "proxy": proxy.Koi(SETTINGS),
    "health": HealthKoi(SETTINGS, lambda _: None),
    "mdns": mdns.Koi(SETTINGS),
}


def places(found: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place of a value in JSON, outer ones first: a container, and its key."""
    keys = range(len(found)) if isinstance(found, list) else list(found)
    yield from ((found, key) for key in keys)
    for key in keys:
        if isinstance(found[key], list | dict):
            yield from places(found[key])


def changed(found: Any, change: Change) -> Any:
    """Return JSON with a change at one of its places."""
    made = [deepcopy(found)]
    every = list(places(made))
    container, key = every[change.place % len(every)]
    container[key] = change.value
    return made[0]


async def put(kind: str, session: Any) -> None:
    made: dict[str, Sequence[Any]] = {
        "dns": [named(name, f"{name}.internal", "10.0.0.1") for name in ("x", "y")],
        "proxy": [route(), route("b", "blog.internal", port=8443)],
        "mdns": [service(), service("b", "blog")],
    }
    for one in made.get(kind, ()):
        await session.put(one.owner, [one])
    for key in (A, B) if kind == "health" else ():
        await session.put(key, [check(interval=30.0)])


async def use(kind: str, changes: Sequence[Change], folder: Path) -> None:
    """Use a daemon that answers with the changes."""
    async with served(FakeKoi(asyncio.get_running_loop().time), folder) as server:

        def trouble(request: Request) -> Answer | None:
            made = None
            for change in changes:
                if request.path.startswith(PATHS[kind][change.path]):
                    made = made or server.daemon.handle(request)
                    found = changed(json.loads(made.body), change)
                    made = Answer(made.status, json.dumps(found).encode(), made.kind)
            return made

        server.trouble = trouble
        with suppress(ProviderLost):
            async with opened(PROVIDERS[kind]) as made:
                await put(kind, made.session)
                complete(made.session)
                await asyncio.sleep(SECONDS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_no_response_ends_a_session_in_another_way_than_its_loss(kind: str) -> None:
    @settings(max_examples=60)
    @given(CHANGES)
    def holds(changes: list[Change]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            environment = {
                "XDG_RUNTIME_DIR": folder,
                "STATE_DIRECTORY": f"{folder}/state",
                "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder}/no-bus",
            }
            with patch.dict(os.environ, environment):
                run(use(kind, changes, Path(folder)))

    holds()


@pytest.mark.parametrize("kind", KINDS)
def test_any_value_in_an_entry_costs_that_entry_at_most(kind: str) -> None:
    one = KINDS[kind]
    good, bad = ({**bodies(kind, name, 1), "id": name} for name in ("x", "y"))

    @given(st.sampled_from([*bad]), JSON)
    def holds(field: str, value: Any) -> None:
        entries = [{**bad, field: value}, good, value]
        found = one.read({one.array: entries} if one.array else entries)
        (key,) = one.read({one.array: [good]} if one.array else [good])
        assert any(seen.handle == good[one.handle] for seen in found[key])

    holds()


def test_the_changes_of_a_response_are_changes() -> None:
    found = {"a": [{"b": 1}]}
    made = [changed(found, Change(0, place, "x")) for place in range(4)]
    assert made == ["x", {"a": "x"}, {"a": ["x"]}, {"a": [{"b": "x"}]}]
    assert document(found).json() == found
