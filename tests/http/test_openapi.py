"""The OpenAPI document is valid, has all routes, and describes the real responses."""

import socket
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import (  # type: ignore[import-untyped]
    Draft202012Validator,
    FormatChecker,
)
from openapi_spec_validator import validate

from koi_agent.core.events import Lost
from koi_agent.publishers.http.handlers import Handlers
from koi_agent.publishers.http.limits import DEFAULTS
from koi_agent.publishers.http.openapi import COMMON_ERRORS
from koi_agent.publishers.http.routes import Route, Routes
from tests.http.serving import Agent, Reply, ask, client, events, serving
from tests.http.things import CHECKED, HOSTILE, SHOP, WEB

TARGETS = {
    "/v1/runtime/instances/{id}": f"/v1/runtime/instances/{SHOP.id}",
    "/v1/sd/prometheus": "/v1/sd/prometheus?include=discovered",
}
"""Targets of requests for paths with parameters."""


def everything() -> Agent:
    """Return an agent with a value for each property."""
    stale = replace(WEB, created_at=5, invocation_id=bytes(16), main_pid=7)
    agent = Agent(SHOP, HOSTILE, stale)
    agent.apply(Lost(backend="systemd", reason="gone"))
    agent.apply(CHECKED)
    return agent


def routes() -> tuple[Route, ...]:
    agent = Agent()
    return Routes(
        Handlers(agent.registry, agent.grace, lambda: agent.status, DEFAULTS), "1.2.3"
    ).table


async def described(path: socket.socket) -> dict[str, Any]:
    document: dict[str, Any] = (await ask(path, "/openapi.json")).json
    return document


def check(document: dict[str, Any], schema: dict[str, Any], content: object) -> None:
    """Validate a response with a schema of the document."""
    rooted = {**schema, "components": document["components"]}
    Draft202012Validator(rooted, format_checker=FormatChecker()).validate(content)


async def test_document_is_valid(path: socket.socket) -> None:
    async with serving(Agent(), path):
        validate(await described(path))


async def test_document_has_all_routes(path: socket.socket) -> None:
    async with serving(Agent(), path):
        paths = (await described(path))["paths"]
    named = {(route.path, method.lower()) for route in routes() for method in route.methods}
    assert {(name, method) for name, methods in paths.items() for method in methods} == named


async def test_responses_match_document(path: socket.socket) -> None:
    async with serving(everything(), path):
        document = await described(path)
        for name, methods in document["paths"].items():
            content = methods["get"]["responses"]["200"]["content"]
            if name == "/v1/runtime/events":
                assert list(content) == ["text/event-stream"]
                continue
            reply = await ask(path, TARGETS.get(name, name))
            assert reply.status == 200, name
            kind = reply.headers["content-type"]
            assert kind in {media.lower() for media in content}, name
            if kind == "application/json":
                check(document, content[kind]["schema"], reply.json)


async def test_events_match_document(path: socket.socket) -> None:
    agent = everything()
    async with serving(agent, path), events(path) as stream:
        document = await described(path)
        agent.update(replace(SHOP, main_pid=1))
        schemas = document["components"]["schemas"]
        snapshot, updated = [(await stream.next())["data"] for _ in range(2)]
        for event in (snapshot, updated):
            check(document, schemas["Event"], event)
        check(document, schemas["Instance"], updated["data"])


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/v1/runtime/instances/nobody", "GET", 404),
        ("/v1/runtime/instances", "POST", 405),
        ("/v1/status", "BAD\x01", 400),
    ],
)
async def test_errors_match_document(
    path: socket.socket, target: str, method: str, status: int
) -> None:
    async with serving(Agent(), path):
        document = await described(path)
        reply: Reply = await ask(path, target, method=method)
    assert reply.status == status
    check(document, document["components"]["schemas"]["Error"], reply.json)


async def test_document_has_errors_of_route(path: socket.socket) -> None:
    agent = Agent()
    agent.status = replace(agent.status, state="stopping")
    async with serving(agent, path):
        document = await described(path)
        async with client(path) as one:
            reply = await one.ask("/healthz")
    responses = document["paths"]["/healthz"]["get"]["responses"]
    assert str(reply.status) in responses
    assert {str(code) for code in COMMON_ERRORS} < responses.keys()
