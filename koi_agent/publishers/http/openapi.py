"""Describes the routes for programs: an OpenAPI 3.1 document, made of their table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from koi_agent.publishers.http.response import JSON
from koi_agent.publishers.http.schemas import SCHEMAS

EVERYWHERE = {
    400: "The request can't be read, or has a body.",
    403: "The Host is not this host's (over TCP only).",
    500: "A bug of ours; the journal tells more.",
}
"""Errors that every page can answer with."""


class Described(Protocol):
    """What a route has to say of itself."""

    @property
    def path(self) -> str: ...
    @property
    def says(self) -> str: ...
    @property
    def shows(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def methods(self) -> Sequence[str]: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def refuses(self) -> Mapping[int, str]: ...


def document(routes: Iterable[Described], version: str) -> dict[str, Any]:
    """Describe routes."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "koi-runtime",
            "description": "Everything that runs on this host. Read-only.",
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
    shown = {kind: {"schema": schema} for kind, schema in route.shows.items()}
    fine: dict[str, Any] = {"description": "Answered."}
    if method != "HEAD":
        fine["content"] = shown
    errors = {**EVERYWHERE, **route.refuses}
    return {
        "summary": route.says,
        "parameters": _parameters(route),
        "responses": {"200": fine}
        | {str(code): _error(said, method) for code, said in sorted(errors.items())},
    }


def _parameters(route: Described) -> list[dict[str, Any]]:
    found = []
    if "{id}" in route.path:
        said = "The runtime's own id, or backend:id; slashes may stand as they are."
        found.append(_parameter("path", "id", said))
    found += [_parameter("query", name, said) for name, said in route.query.items()]
    found += [_parameter("header", name, said) for name, said in route.headers.items()]
    return found


def _parameter(where: str, name: str, said: str) -> dict[str, Any]:
    return {
        "in": where,
        "name": name,
        "description": said,
        "required": where == "path",
        "schema": {"type": "string"},
    }


def _error(said: str, method: str) -> dict[str, Any]:
    error: dict[str, Any] = {"description": said}
    if method != "HEAD":
        error["content"] = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return error
