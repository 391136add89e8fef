"""The configuration for Traefik, and the file with it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koi_agent.capabilities.proxy.providers import Traefik
from koi_agent.capabilities.proxy.records import Route
from koi_agent.capabilities.proxy.sites import sites
from koi_agent.capabilities.proxy.traefik import document, document_in_slices
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from tests.conftest import require
from tests.unit.dns_zones import complete, key
from tests.unit.proxy_routes import put, route
from tests.unit.virtual_time import in_virtual_time

WIKI = route("a", "wiki.internal")
MORE = route("b", "wiki.internal", address="::1", to=8081)
SHOP = route("c", "shop.internal", port=8443, scheme="https", address="172.17.0.5", to=443)
NAMED: dict[str, Any] = {"type": "object", "minProperties": 1}
# The part of Traefik's format that is used, as the page of its file provider describes it. No
# object is empty but that of "tls": Traefik's reader refuses others.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "http": {
            "type": "object",
            "additionalProperties": False,
            "required": ["routers", "services"],
            "properties": {
                "routers": NAMED
                | {
                    "additionalProperties": {
                        "additionalProperties": False,
                        "required": ["rule", "service", "tls", "entryPoints"],
                        "properties": {
                            "entryPoints": {"type": "array", "items": {"type": "string"}},
                            "rule": {"type": "string", "pattern": "^Host\\(`[a-z0-9.-]+`\\)$"},
                            "service": {"type": "string"},
                            "tls": {"type": "object", "maxProperties": 0},
                        },
                    }
                },
                "services": NAMED
                | {
                    "additionalProperties": {
                        "additionalProperties": False,
                        "required": ["loadBalancer"],
                        "properties": {
                            "loadBalancer": {
                                "additionalProperties": False,
                                "required": ["servers"],
                                "properties": {
                                    "servers": {
                                        "type": "array",
                                        "minItems": 1,
                                        "items": {
                                            "additionalProperties": False,
                                            "required": ["url"],
                                            "properties": {
                                                "url": {"type": "string", "pattern": "^https?://"}
                                            },
                                        },
                                    },
                                    "passHostHeader": {"type": "boolean"},
                                    "serversTransport": {"type": "string"},
                                },
                            }
                        },
                    }
                },
                "serversTransports": NAMED
                | {
                    "additionalProperties": {
                        "additionalProperties": False,
                        "properties": {"insecureSkipVerify": {"type": "boolean"}},
                    }
                },
            },
        }
    },
}
PUBLISHED = os.environ.get("TRAEFIK_SCHEMA", "")
ROUTES = st.builds(
    route,
    st.sampled_from("abcdef"),
    st.sampled_from(["wiki.internal", "shop.internal", "a.b.internal", "a-b.internal"]),
    port=st.sampled_from([443, 8443]),
    scheme=st.sampled_from(["http", "https"]),
    address=st.sampled_from(["127.0.0.1", "::1", "172.17.0.5"]),
    to=st.integers(1, 65535),
)


def test_a_site_is_a_router_and_a_service() -> None:
    assert document(sites([MORE, SHOP, WIKI])) == {
        "http": {
            "routers": {
                "koi-443-wiki.internal": {
                    "entryPoints": ["websecure"],
                    "rule": "Host(`wiki.internal`)",
                    "service": "koi-443-wiki.internal",
                    "tls": {},
                },
                "koi-8443-shop.internal": {
                    "entryPoints": ["websecure-8443"],
                    "rule": "Host(`shop.internal`)",
                    "service": "koi-8443-shop.internal",
                    "tls": {},
                },
            },
            "services": {
                "koi-443-wiki.internal": {
                    "loadBalancer": {
                        "servers": [
                            {"url": "http://127.0.0.1:8080"},
                            {"url": "http://[::1]:8081"},
                        ],
                        "passHostHeader": True,
                    }
                },
                "koi-8443-shop.internal": {
                    "loadBalancer": {
                        "servers": [{"url": "https://172.17.0.5:443"}],
                        "passHostHeader": True,
                        "serversTransport": "koi-runtime",
                    }
                },
            },
            "serversTransports": {"koi-runtime": {"insecureSkipVerify": True}},
        }
    }


async def test_the_configuration_in_slices_is_the_same() -> None:
    for number in (0, 1, 1200):
        many = sites(route(f"{n}", f"n{n}.internal") for n in range(number))
        assert json.dumps(await document_in_slices(many)) == json.dumps(document(many))


def test_without_a_route_there_is_no_empty_object_in_it() -> None:
    assert document([]) == {}


@given(st.lists(ROUTES), st.randoms())
def test_the_configuration_is_valid_and_its_order_is_stable(
    routes: list[Route], random: Any
) -> None:
    shuffled = random.sample(routes, len(routes))
    found = document(sites(routes))
    assert json.dumps(found) == json.dumps(document(sites(shuffled)))
    jsonschema.validate(found, SCHEMA)
    for router in found.get("http", {}).get("routers", {}).values():
        assert router["service"] in found["http"]["services"]


@pytest.fixture(scope="module")
def published() -> Any:
    """The JSON schema of Traefik's file provider, which SchemaStore publishes."""
    if not PUBLISHED:
        require("traefik-schema", "TRAEFIK_SCHEMA does not name traefik-v3-file-provider.json")
    return json.loads(Path(PUBLISHED).read_text())


@given(st.lists(ROUTES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_configuration_is_valid_by_the_published_schema(
    published: Any, routes: list[Route]
) -> None:
    found = document(sites(routes))
    jsonschema.validate(found, published)
    for part in found.get("http", {}).values():
        for one in part.values():
            one["unknown"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found or {"unknown": 1}, published)


@asynccontextmanager
async def session(
    path: Path, reported: dict[Key, Sequence[RecordStatus]] | None = None
) -> AsyncIterator[ProviderSession[Route]]:
    report = reported if reported is not None else {}
    provider = Traefik("system", str(path))
    async with provider.session(report.__setitem__) as opened, asyncio.TaskGroup() as group:
        running = group.create_task(opened.run())
        yield opened
        running.cancel()


def content(path: Path) -> Any:
    first, _, rest = path.read_text().partition("\n")
    assert first.startswith("# Written by koi-runtime, agent ")
    return json.loads(rest)


@in_virtual_time
async def test_the_file_has_all_routes_when_they_are_complete(tmp_path: Path) -> None:
    path = tmp_path / "koi.yml"
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with session(path, reported) as opened:
        await put(opened, WIKI, SHOP)
        await asyncio.sleep(5)
        assert not path.exists()
        assert [one.state for one in reported[key("a")]] == [RecordState.WANTED]
        complete(opened)
        await asyncio.sleep(1)
        assert content(path) == document(sites([WIKI, SHOP]))
        assert path.stat().st_mode & 0o777 == 0o644
        assert [one.state for one in reported[key("a")]] == [RecordState.ANNOUNCED]
        await opened.put(key("a"), [])
        await asyncio.sleep(1)
        assert content(path) == document(sites([SHOP]))
    assert content(path) == {}


@in_virtual_time
async def test_the_file_of_a_killed_agent_stays_until_the_routes_are_complete(
    tmp_path: Path,
) -> None:
    path = tmp_path / "koi.yml"
    async with session(path) as opened:
        await put(opened, WIKI)
        complete(opened)
        await asyncio.sleep(1)
        killed = path.read_text()
    path.write_text(killed)
    async with session(path) as opened:
        await put(opened, SHOP)
        await asyncio.sleep(1)
        assert path.read_text() == killed
        complete(opened)
        await asyncio.sleep(1)
        assert content(path) == document(sites([SHOP]))


async def test_a_pipe_in_the_place_of_the_file_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "koi.yml"
    os.mkfifo(path)
    with pytest.raises(ProviderLost, match="not a regular file"):
        async with session(path):
            pass


@in_virtual_time
async def test_a_file_of_others_is_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "koi.yml"
    path.write_text("http:\n  routers: {}\n")
    with pytest.raises(ProviderLost, match="this agent did not write it"):
        async with session(path):
            pass
    assert path.read_text() == "http:\n  routers: {}\n"
    path.unlink()

    async def overwritten() -> None:
        async with session(path) as opened:
            await put(opened, WIKI)
            complete(opened)
            await asyncio.sleep(1)
            path.write_text("of others\n")
            await put(opened, SHOP)
            await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as raised:
        await overwritten()
    assert raised.group_contains(ProviderLost, match="this agent did not write it")
    assert path.read_text() == "of others\n"


@in_virtual_time
async def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    async def written() -> None:
        async with session(tmp_path / "none" / "koi.yml") as opened:
            complete(opened)
            await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as raised:
        await written()
    assert raised.group_contains(ProviderLost, match="TraefikFile=.*No such file")


async def test_without_a_file_the_status_names_the_page() -> None:
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with Traefik("system", "").session(reported.__setitem__) as opened:
        await put(opened, WIKI)
    (status,) = reported[key("a")]
    assert (status.name, status.state) == ("https://wiki.internal", RecordState.WANTED)
    assert "/v1/proxy/traefik" in status.reason
