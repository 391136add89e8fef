"""The handlers of all requests; they read the registry at the time of the request."""

import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from koi_agent.core.events import BackendState, BackendStatus, CheckStatus
from koi_agent.core.instance import Health, Instance
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.registry import Registry
from koi_agent.core.schema.types import rfc3339
from koi_agent.publishers.http import dns_zone, metrics, prometheus_sd, proxy_routes
from koi_agent.publishers.http.agent_status import AgentStatus
from koi_agent.publishers.http.instances import Encoder, backend_record, encode_array, named
from koi_agent.publishers.http.limits import Limits
from koi_agent.publishers.http.metrics import Family, labelled, unlabelled
from koi_agent.publishers.http.response import (
    Request,
    RequestError,
    Response,
    encode_json,
    json_response,
)
from koi_agent.publishers.http.sse import EventStreams

NOT_SERVING = frozenset({"starting", "stopping"})
"""States in which a load balancer must not send requests here."""
CHECK_STATUS = {Health.HEALTHY: "up", Health.UNHEALTHY: "down"}
"""Upstream Koi's words for the result of a check; others are unknown."""


class Handlers:
    """The handlers; ``requests`` counts responses by status code."""

    def __init__(
        self,
        registry: Registry,
        grace: RestartGrace,
        status: Callable[[], AgentStatus],
        limits: Limits,
    ) -> None:
        encoder = Encoder(registry)
        self.streams = EventStreams(registry, encoder, limits)
        self.requests: Counter[int] = Counter()
        self._registry = registry
        self._grace = grace
        self._status = status
        self._encoder = encoder
        self._started = time.monotonic()

    async def runtime_status(self, _request: Request) -> Response:
        return json_response(
            {
                "active": self._active,
                "backend": ",".join(backend.name for backend in self._listed_backends) or None,
                "instance_count": len(self._registry.visible),
            }
        )

    async def instances(self, _request: Request) -> Response:
        return Response(pieces=await encode_array(self._sorted(), self._encoder.encode))

    async def instance(self, request: Request) -> Response:
        return Response(pieces=[self._encoder.encode(named(self._registry, request.id))])

    async def backends(self, _request: Request) -> Response:
        return json_response([backend_record(b) for b in self._registry.backends.values()])

    async def events(self, request: Request) -> Response:
        stream = self.streams.open(request.last_event_id, request.client)
        return Response(content_type="text/event-stream", stream=stream)

    async def health_status(self, _request: Request) -> Response:
        """Return the agent's checks in upstream Koi's form, and each instance's known health."""
        visible = self._registry.visible
        checks = ((visible.get(key), one) for key, one in sorted(self._registry.checks.items()))
        checked = (_service(instance, status) for instance, status in checks if instance)
        known = (_health(i) for i in self._sorted() if i.health is not Health.NONE)
        services = await encode_array(checked, encode_json)
        instances = await encode_array(known, encode_json)
        begin = b'{"machines":[],"services":'
        return Response(pieces=[begin, *services, b',"instances":', *instances, b"}"])

    async def status(self, _request: Request) -> Response:
        status = self._status()
        runtime = {"name": "runtime", "summary": self._summary(), "healthy": self._active}
        return json_response(
            {
                "version": status.version,
                "platform": platform.system().lower(),
                "uptime_secs": int(time.monotonic() - self._started),
                "daemon": True,
                "state": status.state,
                "capabilities": [runtime],
            }
        )

    async def prometheus_targets(self, request: Request) -> Response:
        wanted = self._grace.wanted(self._registry.visible)
        groups = prometheus_sd.groups(wanted, request, self._status().network)
        return Response(pieces=await encode_array(groups, encode_json))

    async def dns_zone(self, request: Request) -> Response:
        return await dns_zone.response(request, await self._status().zone())

    async def proxy_routes(self, _request: Request) -> Response:
        return await proxy_routes.routes(self._status().proxy)

    async def traefik(self, request: Request) -> Response:
        return await proxy_routes.traefik(request, self._status().proxy)

    async def health(self, _request: Request) -> Response:
        state = self._status().state
        if state in NOT_SERVING:
            headers = {"Retry-After": "1"}
            raise RequestError(503, "not_serving", f"koi-runtime is {state}", headers)
        return json_response({"status": "degraded" if state == "degraded" else "ok"})

    async def agent_metrics(self, request: Request) -> Response:
        openmetrics = metrics.prefers_openmetrics(request.accept)
        return Response(
            content_type=metrics.OPENMETRICS if openmetrics else metrics.TEXT,
            pieces=[metrics.encode(self._families(), openmetrics=openmetrics)],
        )

    def _families(self) -> list[Family]:
        status, streams, registry = self._status(), self.streams, self._registry
        visible = registry.visible.values()
        states = Counter((instance.backend, str(instance.state)) for instance in visible)
        health = Counter(str(instance.health) for instance in visible)
        events = {name.partition(".")[2]: count for name, count in streams.counts.items()}
        requests = {str(code): count for code, count in self.requests.items()}
        checks, waiting, dropped = registry.check_counts, status.waiting, status.dropped
        return [
            labelled(
                "koi_build_info", "gauge", "Version of the agent.", "version", {status.version: 1}
            ),
            *metrics.backend_families(registry.backends.values(), states),
            labelled("koi_events", "counter", "Events of the registry.", "event", events),
            metrics.announcement_family(visible),
            labelled("koi_health", "gauge", "Instances by health.", "health", health),
            labelled("koi_checks", "counter", "Health checks by result.", "result", checks),
            metrics.delay_summary(streams.delays, streams.delayed),
            labelled("koi_events_waiting", "gauge", "Events not sent yet.", "sink", waiting),
            labelled("koi_events_dropped", "counter", "Events discarded.", "sink", dropped),
            labelled("koi_http_requests", "counter", "Responses by status.", "code", requests),
            unlabelled("koi_http_streams", "gauge", "Open event streams.", len(streams)),
        ]

    @property
    def _active(self) -> bool:
        backends = self._registry.backends.values()
        return any(backend.state is BackendState.SYNCED for backend in backends)

    @property
    def _listed_backends(self) -> Sequence[BackendStatus]:
        """The backends that have been listed at least once."""
        return [backend for backend in self._registry.backends.values() if backend.last_sync]

    def _summary(self) -> str:
        counts = [f"{b.name}: {b.instances} instances" for b in self._listed_backends]
        return ", ".join(counts) or "inactive"

    def _sorted(self) -> list[Instance]:
        return [instance for _, instance in sorted(self._registry.visible.items())]


def _service(instance: Instance, status: CheckStatus) -> dict[str, Any]:
    """Return a check in upstream Koi's form, in whole seconds; ``key`` is ours and unique."""
    return {
        "name": f"runtime:{instance.metadata.name or instance.name}",
        "key": str(instance.key),
        "kind": str(status.kind),
        "target": status.target,
        "interval_secs": math.ceil(status.interval),
        "timeout_secs": math.ceil(status.timeout),
        "status": CHECK_STATUS.get(status.health, "unknown"),
        "last_checked": rfc3339(status.last_checked),
        "last_ok": rfc3339(status.last_ok),
        "message": status.message,
    }


def _health(instance: Instance) -> dict[str, Any]:
    return {
        "key": str(instance.key),
        "name": instance.name,
        "health": str(instance.health),
        "detail": instance.health_detail or None,
    }
