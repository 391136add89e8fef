"""What each page says: looked up in the registry when it is asked for."""

import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from koi_agent.core.errors import BadInput
from koi_agent.core.events import BackendState, BackendStatus, CheckStatus
from koi_agent.core.instance import Health, Instance
from koi_agent.core.key import Key
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.registry import Registry
from koi_agent.core.schema.types import rfc3339
from koi_agent.publishers.http import metrics, prometheus_sd
from koi_agent.publishers.http.agent_status import AgentStatus
from koi_agent.publishers.http.instances import Encoder, array, backend_record
from koi_agent.publishers.http.metrics import family, plain
from koi_agent.publishers.http.response import Refused, Request, Response, encoded, page
from koi_agent.publishers.http.sse import EventStreams

NOT_SERVING = frozenset({"starting", "stopping"})
"""States in which nobody should be sent to us."""


UPS = {Health.HEALTHY: "up", Health.UNHEALTHY: "down"}
"""What upstream calls it."""


class Handlers:
    """The pages; ``requests`` counts what was answered, by status code."""

    def __init__(
        self, registry: Registry, grace: RestartGrace, facts: Callable[[], AgentStatus]
    ) -> None:
        encoder = Encoder(registry)
        self.streams = EventStreams(registry, encoder)
        self.requests: Counter[int] = Counter()
        self._registry = registry
        self._grace = grace
        self._facts = facts
        self._encoder = encoder
        self._began = time.monotonic()

    async def runtime_status(self, _asked: Request) -> Response:
        return page(
            {
                "active": self._active,
                "backend": ",".join(backend.name for backend in self._known) or None,
                "instance_count": len(self._registry.visible),
            }
        )

    async def instances(self, _asked: Request) -> Response:
        return Response(pieces=await array(self._sorted(), self._encoder.of))

    async def instance(self, asked: Request) -> Response:
        return Response(pieces=[self._encoder.of(self._found(asked.id))])

    async def backends(self, _asked: Request) -> Response:
        return page([backend_record(backend) for backend in self._registry.backends.values()])

    async def events(self, asked: Request) -> Response:
        stream = self.streams.open(asked.last_event_id)
        return Response(content_type="text/event-stream", stream=stream)

    async def health_status(self, _asked: Request) -> Response:
        """Tell of our checks in upstream's shape, and of every instance whose health is known."""
        visible = self._registry.visible
        checks = ((visible.get(key), one) for key, one in sorted(self._registry.checks.items()))
        ours = (_service(instance, status) for instance, status in checks if instance)
        known = (_health(i) for i in self._sorted() if i.health is not Health.NONE)
        begin = b'{"machines":[],"services":'
        services, instances = await array(ours, encoded), await array(known, encoded)
        return Response(pieces=[begin, *services, b',"instances":', *instances, b"}"])

    async def status(self, _asked: Request) -> Response:
        facts = self._facts()
        runtime = {"name": "runtime", "summary": self._summary(), "healthy": self._active}
        return page(
            {
                "version": facts.version,
                "platform": platform.system().lower(),
                "uptime_secs": int(time.monotonic() - self._began),
                "daemon": True,
                "state": facts.state,
                "capabilities": [runtime],
            }
        )

    async def prometheus_targets(self, asked: Request) -> Response:
        wanted = self._grace.wanted(self._registry.visible)
        return Response(pieces=await array(prometheus_sd.groups(wanted, asked), encoded))

    async def health(self, _asked: Request) -> Response:
        state = self._facts().state
        if state in NOT_SERVING:
            raise Refused(503, "not_serving", f"koi-runtime is {state}", {"Retry-After": "1"})
        return page({"status": "degraded" if state == "degraded" else "ok"})

    async def counts(self, asked: Request) -> Response:
        openmetrics = metrics.wants_openmetrics(asked.accept)
        return Response(
            content_type=metrics.OPENMETRICS if openmetrics else metrics.TEXT,
            pieces=[metrics.text(self._families(), openmetrics=openmetrics)],
        )

    def _families(self) -> list[metrics.Family]:
        facts, streams = self._facts(), self.streams
        visible = self._registry.visible.values()
        states = Counter((instance.backend, str(instance.state)) for instance in visible)
        health = Counter(str(instance.health) for instance in visible)
        events = {name.partition(".")[2]: count for name, count in streams.counts.items()}
        requests = {str(code): count for code, count in self.requests.items()}
        said = "Versions of what answers."
        return [
            family("koi_build_info", "gauge", said, "version", {facts.version: 1}),
            *metrics.of_backends(self._registry.backends.values(), states),
            family("koi_events", "counter", "Events of the registry.", "event", events),
            metrics.of_announcements(visible),
            family("koi_health", "gauge", "Instances by health.", "health", health),
            family(
                "koi_checks", "counter", "Checks of health.", "result", self._registry.check_counts
            ),
            metrics.delay(streams.delays, streams.delayed),
            family(
                "koi_events_waiting",
                "gauge",
                "Events that a sink has yet to tell.",
                "sink",
                facts.waiting,
            ),
            family(
                "koi_events_dropped",
                "counter",
                "Events that a slow sink does not tell.",
                "sink",
                facts.dropped,
            ),
            family("koi_http_requests", "counter", "Requests answered.", "code", requests),
            plain("koi_http_streams", "gauge", "Event streams that are open.", len(streams)),
        ]

    @property
    def _active(self) -> bool:
        backends = self._registry.backends.values()
        return any(backend.state is BackendState.SYNCED for backend in backends)

    @property
    def _known(self) -> Sequence[BackendStatus]:
        """The backends that have something to show."""
        return [backend for backend in self._registry.backends.values() if backend.last_sync]

    def _summary(self) -> str:
        counts = [f"{b.name}: {b.instances} instances" for b in self._known]
        return ", ".join(counts) or "inactive"

    def _sorted(self) -> list[Instance]:
        return [instance for _, instance in sorted(self._registry.visible.items())]

    def _found(self, asked: str) -> Instance:
        """Find an instance by ``backend:id``, or by an id of whatever backend."""
        visible = self._registry.visible
        with suppress(BadInput):
            if instance := visible.get(Key.parse(asked)):
                return instance
        found = [i for name in self._registry.backends if (i := visible.get(Key(name, asked)))]
        if len(found) > 1:
            keys = ", ".join(str(instance.key) for instance in found)
            raise Refused(409, "ambiguous_id", f"more than one instance has this id: {keys}")
        if not found:
            raise Refused(404, "not_found", f"instance not found: {asked[:300]}")
        return found[0]


def _service(instance: Instance, status: CheckStatus) -> dict[str, Any]:
    """Show a check as upstream does: interval and timeout are whole seconds.

    Several may have one name; the key is ours, and each has another.
    """
    return {
        "name": f"runtime:{instance.metadata.name or instance.name}",
        "key": str(instance.key),
        "kind": str(status.kind),
        "target": status.target,
        "interval_secs": math.ceil(status.interval),
        "timeout_secs": math.ceil(status.timeout),
        "status": UPS.get(status.health, "unknown"),
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
