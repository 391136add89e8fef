"""The one table of what can be asked: requests are routed by it, and openapi.json is made of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from koi_agent.publishers.http import metrics
from koi_agent.publishers.http.handlers import Handlers
from koi_agent.publishers.http.openapi import document
from koi_agent.publishers.http.response import JSON, Refused, Request, Response, page
from koi_agent.publishers.http.schemas import array_of, reference

Page = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path, what is answered there, and how that looks.

    A path may end in ``{id}``, which takes all that follows, slashes too. ``shows`` is the
    schema of each media type; ``refuses`` says when an error comes instead, by status.
    """

    path: str
    page: Page
    says: str
    shows: Mapping[str, Mapping[str, Any]]
    methods: Sequence[str] = ("GET", "HEAD")
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    refuses: Mapping[int, str] = field(default_factory=dict)


class Routes:
    """The table, with the document that describes it."""

    def __init__(self, pages: Handlers, version: str) -> None:
        described = _route("/openapi.json", self._described, "This document.", {"type": "object"})
        self.table = (*_runtime(pages), *_agent(pages), described)
        self._paths = {route.path: route for route in self.table if "{" not in route.path}
        self._open = {route.path.partition("{")[0]: route for route in self.table}
        self._version = version

    async def _described(self, _asked: Request) -> Response:
        return page(document(self.table, self._version))

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """Find a page and the id in its path, which is decoded; raises ``Refused``."""
        route, id_ = self._paths.get(path), ""
        if not route:
            folder = next((f for f in self._folders if path.startswith(f) and path != f), "")
            route, id_ = self._open.get(folder), unquote(path[len(folder) :])
        if not route:
            raise Refused(404, "not_found", f"no such page: {path[:300]}")
        if method not in route.methods:
            allowed = ", ".join(route.methods)
            text = f"{path[:300]} takes {allowed} only: this API is read-only"
            raise Refused(405, "method_not_allowed", text, {"Allow": allowed})
        return route, id_

    @property
    def _folders(self) -> Sequence[str]:
        return [folder for folder, route in self._open.items() if route.path != folder]


def _route(path: str, answer: Page, says: str, shows: Mapping[str, Any]) -> Route:
    return Route(path=path, page=answer, says=says, shows={JSON: shows})


def _runtime(pages: Handlers) -> Sequence[Route]:
    """List the pages about what runs."""
    return (
        _route(
            "/v1/runtime/status",
            pages.runtime_status,
            "Whether anything is followed, and how much runs.",
            reference("RuntimeStatus"),
        ),
        _route(
            "/v1/runtime/instances",
            pages.instances,
            "All instances, as they are at one moment.",
            array_of("Instance"),
        ),
        Route(
            path="/v1/runtime/instances/{id}",
            page=pages.instance,
            says="One instance, by its id or by backend:id.",
            shows={JSON: reference("Instance")},
            refuses={404: "No instance has this id.", 409: "Instances of two backends have it."},
        ),
        _route(
            "/v1/runtime/backends",
            pages.backends,
            "The backends that are followed, and where each stands.",
            array_of("Backend"),
        ),
        Route(
            path="/v1/runtime/events",
            page=pages.events,
            says="Events as they come (server-sent events): all that runs at one moment as"
            " runtime.snapshot, then runtime.started, .updated, .stopped, .disconnected and"
            " .reconnected. The data of each is an Event in JSON.",
            shows={"text/event-stream": {"type": "string"}},
            methods=("GET",),
            headers={"Last-Event-ID": "The last event that the client has: it is not sent again."},
            refuses={503: "Too many streams are open."},
        ),
    )


def _agent(pages: Handlers) -> Sequence[Route]:
    """List the pages about the agent, and for other programs."""
    return (
        _route(
            "/v1/health/status",
            pages.health_status,
            "What is known of the health of what runs.",
            reference("HealthStatus"),
        ),
        _route("/v1/status", pages.status, "The agent as a whole.", reference("Status")),
        Route(
            path="/v1/sd/prometheus",
            page=pages.prometheus_targets,
            says="Scrape targets for Prometheus's http_sd.",
            shows={JSON: array_of("TargetGroup")},
            query={"include": "'discovered' adds what did not opt in."},
        ),
        Route(
            path="/metrics",
            page=pages.counts,
            says="Counts of our own, for Prometheus.",
            shows={kind: {"type": "string"} for kind in (metrics.TEXT, metrics.OPENMETRICS)},
        ),
        Route(
            path="/healthz",
            page=pages.health,
            says="Whether the agent serves.",
            shows={JSON: reference("Health")},
            refuses={503: "The agent starts or stops."},
        ),
    )
