"""The configuration for Traefik: stable, valid, and made in slices."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koi_agent.capabilities.proxy.records import Route
from koi_agent.capabilities.proxy.sites import sites
from koi_agent.capabilities.proxy.traefik import document, document_in_slices, text_in_slices
from tests.conftest import require
from tests.unit.proxy_routes import route

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
        assert json.dumps(json.loads(await text_in_slices(many))) == json.dumps(document(many))
    secured = sites([route(), SHOP])
    assert json.dumps(json.loads(await text_in_slices(secured))) == json.dumps(document(secured))


async def test_other_work_continues_while_the_text_of_many_routes_is_made() -> None:
    many = sites(route(f"{n}", f"n{n}.internal") for n in range(1000))
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.TaskGroup() as group:
        other = group.create_task(other_work())
        await asyncio.sleep(0)
        before = turns
        text = await text_in_slices(many)
        assert turns - before >= 10
        other.cancel()
    assert len(text.splitlines()) > 2000


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
