"""The OpenAPI 3.1 document, made from the table of routes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from koi_agent.core.schema.tables import Schema
from koi_agent.publishers.http.response import JSON
from koi_agent.publishers.http.schemas import SCHEMAS

COMMON_ERRORS = {
    400: "The request is malformed, or has a body.",
    403: "The Host header names another host (over TCP only).",
    500: "An internal error; the journal has the details.",
}
"""The error responses of every route."""


class Described(Protocol):
    """The description of a route."""

    @property
    def path(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def content(self) -> Mapping[str, Schema]: ...
    @property
    def methods(self) -> Sequence[str]: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def errors(self) -> Mapping[int, str]: ...


def document(routes: Iterable[Described], version: str) -> dict[str, Any]:
    """Return the document that describes routes."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "koi-runtime",
            "description": "The services and containers of this host. Read-only.",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            route.path: {method.lower(): _operation(route, method) for method in route.methods}
            for route in routes
        },
        "components": {"schemas": SCHEMAS},
    }


def _operation(route: Described, method: str) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Success."}
    if method != "HEAD":
        success["content"] = {kind: {"schema": schema} for kind, schema in route.content.items()}
    errors = {**COMMON_ERRORS, **route.errors}
    return {
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {"200": success}
        | {str(status): _error(text, method) for status, text in sorted(errors.items())},
    }


def _parameters(route: Described) -> list[dict[str, Any]]:
    parameters = []
    if "{id}" in route.path:
        text = "backend:id, or an id, name, unit or announced name; slashes need no escape."
        parameters.append(_parameter("path", "id", text))
    parameters += [_parameter("query", name, text) for name, text in route.query.items()]
    parameters += [_parameter("header", name, text) for name, text in route.headers.items()]
    return parameters


def _parameter(place: str, name: str, text: str) -> dict[str, Any]:
    return {
        "in": place,
        "name": name,
        "description": text,
        "required": place == "path",
        "schema": {"type": "string"},
    }


def _error(text: str, method: str) -> dict[str, Any]:
    error: dict[str, Any] = {"description": text}
    if method != "HEAD":
        error["content"] = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return error
