"""The agent's own metrics, read by Prometheus's own parsers."""

import socket
import time
from collections.abc import Iterable
from dataclasses import replace

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from koi_agent.core.events import Absent, Lost
from koi_agent.publishers.http import metrics
from koi_agent.publishers.http.agent_status import AgentStatus
from tests.http.serving import Agent, Reply, ask, client, events, serving
from tests.unit.things import container, listing, unit

WEB = unit("web.service")
OPENMETRICS = "Accept: application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5"

Values = dict[str, dict[tuple[str, ...], float]]


def values(families: Iterable[Metric]) -> Values:
    """Return samples by name and by the values of their labels."""
    found: Values = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def read(reply: Reply) -> Values:
    text = reply.body.decode()
    if reply.headers["content-type"] == metrics.OPENMETRICS:
        return values(openmetrics_parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    assert reply.headers["content-type"] == metrics.TEXT
    return values(text_string_to_metric_families(text))


async def test_instances_are_counted_by_backend_and_state(path: socket.socket) -> None:
    agent = Agent(WEB, unit("a.service"), container("c"))
    agent.apply(Lost(backend="podman", reason="gone"))
    async with serving(agent, path):
        found = read(await ask(path, "/metrics"))
    assert found["koi_instances"] == {("systemd", "running"): 2, ("podman", "running"): 1}
    assert found["koi_backend_up"] == {("systemd",): 1, ("podman",): 0}
    assert found["koi_build_info"] == {("1.2.3",): 1}


async def test_backend_events_are_counted(path: socket.socket) -> None:
    agent = Agent(WEB)
    agent.apply(Lost(backend="systemd", reason="gone"))
    agent.apply(listing("systemd", drifted=["web.service"]))
    async with serving(agent, path):
        found = read(await ask(path, "/metrics"))
    assert found["koi_backend_reconnects_total"] == {("systemd",): 1, ("podman",): 0}
    assert found["koi_drift_total"] == {("systemd",): 1, ("podman",): 0}
    assert found["koi_events_total"] == {
        ("started",): 1,
        ("updated",): 1,
        ("stopped",): 1,
        ("disconnected",): 1,
        ("reconnected",): 1,
    }


async def test_waiting_and_dropped_events_of_sinks_are_counted(path: socket.socket) -> None:
    agent = Agent()
    agent.status = replace(agent.status, waiting={"dbus": 3}, dropped={"dbus": 2, "journal": 0})
    async with serving(agent, path):
        found = read(await ask(path, "/metrics"))
    assert found["koi_events_waiting"] == {("dbus",): 3}
    assert found["koi_events_dropped_total"] == {("dbus",): 2, ("journal",): 0}


async def test_requests_and_streams_are_counted(path: socket.socket) -> None:
    agent = Agent()
    async with serving(agent, path), events(path) as stream, client(path) as one:
        await stream.next()
        began = time.monotonic()
        agent.update(WEB)
        await stream.next()
        delay = time.monotonic() - began
        for target in ("/healthz", "/nowhere", "/healthz"):
            await one.ask(target)
        found = read(await one.ask("/metrics"))
        again = read(await one.ask("/metrics"))
    assert found["koi_http_requests_total"] == {("200",): 3, ("404",): 1}
    assert again["koi_http_requests_total"] == {("200",): 4, ("404",): 1}
    assert found["koi_http_streams"] == {(): 1}
    assert found["koi_event_delay_seconds_count"] == {(): 1}
    assert 0 < found["koi_event_delay_seconds_sum"][()] <= delay


async def test_both_formats_have_same_metrics(path: socket.socket) -> None:
    async with serving(Agent(WEB), path):
        old = await ask(path, "/metrics")
        new = await ask(path, "/metrics", OPENMETRICS)
    assert new.headers["content-type"] == metrics.OPENMETRICS
    assert new.body.endswith(b"# EOF\n")
    assert read(old).keys() | {"koi_http_requests_total"} == read(new).keys()


@pytest.mark.parametrize(
    "accept", ["*/*", "text/plain", "application/openmetrics-text;q=0", "application/json"]
)
async def test_openmetrics_is_sent_on_request_only(path: socket.socket, accept: str) -> None:
    async with serving(Agent(), path):
        reply = await ask(path, "/metrics", f"Accept: {accept}")
    assert reply.headers["content-type"] == metrics.TEXT


@pytest.mark.parametrize("named", ['a"b\\c\nd', "\\n", "é\u2028\x1b[31m", "\udc80"])
async def test_label_can_have_any_text(path: socket.socket, named: str) -> None:
    agent = Agent(backends=())
    agent.status = AgentStatus(version="1", state="running", dropped={named: 1})
    agent.apply(Absent(backend="systemd", reason=""))
    async with serving(agent, path):
        for header in ("Accept: */*", OPENMETRICS):
            found = read(await ask(path, "/metrics", header))
            label = named.encode(errors="replace").decode()
            assert found["koi_events_dropped_total"] == {(label,): 1}
