"""The routes of the proxy over HTTP, and the configuration that Traefik polls."""

import socket
from dataclasses import replace

import pytest

from koi_agent.capabilities.proxy.printed import printed, traefik_document
from koi_agent.publishers.http.agent_status import ProxyRoutes
from tests.http.serving import Agent, ask, client, serving
from tests.unit.proxy_routes import route

ROUTES = (
    route("b", "wiki.internal", to=8081),
    route("a", "wiki.internal"),
    route("c", "shop.internal", port=8443, scheme="https", address="::1", to=443),
)


def agent() -> Agent:
    made = Agent()
    proxy = ProxyRoutes(sites=lambda: printed(ROUTES), traefik=lambda: traefik_document(ROUTES))
    made.status = replace(made.status, proxy=proxy)
    return made


async def test_each_host_name_has_its_upstreams(path: socket.socket) -> None:
    async with serving(agent(), path):
        assert (await ask(path, "/v1/proxy/routes")).json == [
            {
                "url": "https://wiki.internal",
                "host": "wiki.internal",
                "port": 443,
                "upstreams": [
                    {"key": "docker:a", "url": "http://127.0.0.1:8080"},
                    {"key": "docker:b", "url": "http://127.0.0.1:8081"},
                ],
            },
            {
                "url": "https://shop.internal:8443",
                "host": "shop.internal",
                "port": 8443,
                "upstreams": [{"key": "docker:c", "url": "https://[::1]:443"}],
            },
        ]


async def test_traefik_gets_its_configuration_once(path: socket.socket) -> None:
    async with serving(agent(), path), client(path) as one:
        first = await one.ask("/v1/proxy/traefik")
        assert first.json == await traefik_document(ROUTES)
        tag = first.headers["etag"]
        for names in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            one.send("/v1/proxy/traefik", f"If-None-Match: {names}")
            again = await one.head()
            assert (again.status, again.headers["etag"]) == (304, tag)
        other = await one.ask("/v1/proxy/traefik", 'If-None-Match: "x"')
        assert (other.status, other.body) == (200, first.body)


@pytest.mark.parametrize(("page", "empty"), [("routes", []), ("traefik", {})])
async def test_without_a_route_the_pages_are_empty(
    path: socket.socket, page: str, empty: object
) -> None:
    async with serving(Agent(), path):
        assert (await ask(path, f"/v1/proxy/{page}")).json == empty
