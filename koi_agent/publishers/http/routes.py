"""The table of routes: requests are routed by it, and openapi.json describes it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from urllib.parse import unquote

from koi_agent.core.frozen import frozen
from koi_agent.core.schema.tables import Schema
from koi_agent.publishers.http import dns_zone, metrics
from koi_agent.publishers.http.handlers import Handlers
from koi_agent.publishers.http.openapi import document
from koi_agent.publishers.http.response import (
    JSON,
    Request,
    RequestError,
    Response,
    json_response,
)
from koi_agent.publishers.http.schemas import array_of, reference

Handler = Callable[[Request], Awaitable[Response]]


@frozen(kw_only=True)
class Route:
    """A path, its handler and its description.

    A path may end in ``{id}``, which matches the rest of a path with its slashes. ``content`` has
    the schema of each media type. ``errors`` describes the route's own error responses, by status.
    """

    path: str
    handler: Handler
    summary: str
    content: Mapping[str, Schema]
    methods: Sequence[str] = ("GET", "HEAD")
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)


class Routes:
    """All routes, and the document that describes them."""

    def __init__(self, handlers: Handlers, version: str) -> None:
        openapi = _json("/openapi.json", self._openapi, "This document.", {"type": "object"})
        index = _json("/", self._index, "The paths that are served.", reference("Index"))
        self.table = (index, *_runtime(handlers), *_agent(handlers), openapi)
        self._paths = {route.path: route for route in self.table if "{" not in route.path}
        self._folders = {
            route.path.partition("{")[0]: route for route in self.table if "{" in route.path
        }
        self._version = version

    async def _index(self, _request: Request) -> Response:
        paths = {route.path: route.summary for route in self.table}
        return json_response({"name": "koi-runtime", "version": self._version, "paths": paths})

    async def _openapi(self, _request: Request) -> Response:
        return json_response(document(self.table, self._version))

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """Return the route of a path, and the decoded id in it; raise ``RequestError``."""
        route, id_ = self._paths.get(path), ""
        if not route:
            folder = next((f for f in self._folders if path.startswith(f) and path != f), "")
            route, id_ = self._folders.get(folder), unquote(path[len(folder) :])
        if not route:
            raise RequestError(404, "not_found", f"no such path: {path[:300]}")
        if method not in route.methods:
            allowed = ", ".join(route.methods)
            text = f"method not allowed: {method[:20]}; {path[:300]} takes {allowed}"
            raise RequestError(405, "method_not_allowed", text, {"Allow": allowed})
        return route, id_


def _json(path: str, handler: Handler, summary: str, schema: Schema) -> Route:
    return Route(path=path, handler=handler, summary=summary, content={JSON: schema})


def _runtime(handlers: Handlers) -> Sequence[Route]:
    """Return the routes for instances, backends and events."""
    return (
        _json(
            "/v1/runtime/status",
            handlers.runtime_status,
            "The backends that are followed, and the number of instances.",
            reference("RuntimeStatus"),
        ),
        _json(
            "/v1/runtime/instances",
            handlers.instances,
            "All instances.",
            array_of("Instance"),
        ),
        Route(
            path="/v1/runtime/instances/{id}",
            handler=handlers.instance,
            summary="One instance, by backend:id, or by an id or a name that it alone has.",
            content={JSON: reference("Instance")},
            errors={404: "No instance has this name.", 409: "Several instances have this name."},
        ),
        _json(
            "/v1/runtime/backends",
            handlers.backends,
            "The backends that are followed, with their state.",
            array_of("Backend"),
        ),
        Route(
            path="/v1/runtime/events",
            handler=handlers.events,
            summary="Events (server-sent events): first runtime.snapshot with all instances, then"
            " runtime.started, .updated, .stopped, .disconnected and .reconnected. The data of"
            " each is an Event in JSON.",
            content={"text/event-stream": {"type": "string"}},
            methods=("GET",),
            headers={"Last-Event-ID": "The last event that the client has; the next ones follow."},
            errors={503: "Too many streams are open."},
        ),
    )


def _agent(handlers: Handlers) -> Sequence[Route]:
    """Return the routes for the agent itself, and those for other programs."""
    return (
        _json(
            "/v1/health/status",
            handlers.health_status,
            "The health checks, and the known health of instances.",
            reference("HealthStatus"),
        ),
        _json("/v1/status", handlers.status, "The agent as a whole.", reference("Status")),
        Route(
            path="/v1/sd/prometheus",
            handler=handlers.prometheus_targets,
            summary="Scrape targets for Prometheus's http_sd.",
            content={JSON: array_of("TargetGroup")},
            query={"include": "'discovered' adds instances that did not opt in."},
        ),
        Route(
            path="/v1/dns/zone",
            handler=handlers.dns_zone,
            summary="The resource records of the DNS names, without SOA and NS.",
            content={dns_zone.TEXT: {"type": "string"}, JSON: array_of("ZoneRecord")},
            query={"format": "'zone' (the default) or 'hosts' for lines of text, or 'json'."},
            errors={400: "There is no such format."},
        ),
        *_proxy(handlers),
        Route(
            path="/metrics",
            handler=handlers.agent_metrics,
            summary="The agent's own metrics, for Prometheus.",
            content={kind: {"type": "string"} for kind in (metrics.TEXT, metrics.OPENMETRICS)},
        ),
        Route(
            path="/healthz",
            handler=handlers.health,
            summary="Whether the agent serves.",
            content={JSON: reference("Health")},
            errors={503: "The agent starts or stops."},
        ),
    )


def _proxy(handlers: Handlers) -> Sequence[Route]:
    """Return the routes for the reverse proxy."""
    return (
        _json(
            "/v1/proxy/routes",
            handlers.proxy_routes,
            "The routes of the proxy: each host name with its upstreams.",
            array_of("ProxyRoute"),
        ),
        Route(
            path="/v1/proxy/traefik",
            handler=handlers.traefik,
            summary="The routes as Traefik's HTTP provider reads them.",
            content={JSON: {"type": "object"}},
            headers={"If-None-Match": "The ETag that the client has."},
            errors={304: "The configuration has this ETag."},
        ),
    )
