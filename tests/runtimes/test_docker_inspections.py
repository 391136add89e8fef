"""Inspections of an engine that are under way when something else happens."""

import json
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from koi_agent.core.events import Stopped
from koi_agent.core.key import Key
from tests.runtimes.fake_containers import FakeContainer
from tests.runtimes.followed import Followed, eventually, followed
from tests.runtimes.test_docker_faults import agreed

SERVICE = "s" * 25


def service(*ports: int) -> dict[str, Any]:
    """Return the record of a service of a swarm that publishes ports."""
    rows = [
        {"TargetPort": 80, "PublishedPort": port, "Protocol": "tcp", "PublishMode": "ingress"}
        for port in ports
    ]
    return {"ID": SERVICE, "Endpoint": {"Ports": rows}}


async def test_a_service_that_changes_within_the_first_inspection_of_its_task_counts(
    tmp_path: Path,
) -> None:
    async with followed(tmp_path) as engine:
        engine.fake.services[SERVICE] = service(8080)
        engine.faults.delays["service"] = deque([0.3])
        task = engine.containers.run(labels={"com.docker.swarm.service.id": SERVICE})
        await eventually(lambda: not engine.faults.delays["service"], "the service is inspected")
        engine.fake.services[SERVICE] = service(8080, 9090)
        actor = {"ID": SERVICE, "Attributes": {"name": "web"}}
        event = {"Type": "service", "Action": "update", "Actor": actor, "timeNano": time.time_ns()}
        engine.fake.send(json.dumps(event).encode() + b"\n")
        await eventually(lambda: ports(engine, task) == [8080, 9090], "the new port is published")


def ports(engine: Followed, container: FakeContainer) -> list[int]:
    found = engine.registry.visible.get(Key(engine.name, container.id))
    return sorted(port.host_port for port in found.ports) if found else []


@pytest.mark.parametrize("kind", ["docker", "podman"])
@pytest.mark.parametrize("failures", [1, 2])
async def test_a_restart_whose_inspections_fail_is_no_end(
    tmp_path: Path, kind: str, failures: int
) -> None:
    async with followed(tmp_path, kind) as engine:
        container = engine.containers.run(policy="always")
        await agreed(engine)
        engine.faults.bodies["inspect"] = deque([lambda _body: b"{"] * failures)
        engine.containers.die(container, 1)
        engine.containers.restart_by_policy(container)
        await eventually(lambda: not engine.faults.bodies["inspect"], "its inspections failed")
        await engine.settle()
        assert not [event for event in engine.events if isinstance(event, Stopped)]
