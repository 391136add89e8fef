"""Measures containers that start and stop: ``python -m bench.containers`` as root.

With 0, 100 and 1 000 containers of a fake engine, and with a real dockerd. A bus monitor stamps the
agent's signals. The time runs from the engine's event.
"""

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.agents import on_bus, settings, wait_until_calm
from bench.fake_engine import OPTS_IN, FakeEngine
from bench.monitor import BusMonitor
from bench.parts import Checkout, Run, main
from bench.processes import Cost
from tests import dockerd
from tests.dockerd import Dockerd
from tests.dockerd.engine import Connection
from tests.world.bus import PrivateBus

ROUNDS: Final = 2
PRESENT: Final = (0, 100, 1_000)
CYCLES: Final = 40
PAUSE: Final = 0.05
"""Seconds between two events of the fake engine."""
REAL_CYCLES: Final = 20
REAL_PAUSE: Final = 0.15
EVENTS: Final = {"InstanceStarted": "start", "InstanceStopped": "stop"}
DOCKER_EVENTS: Final = {"start": "start", "die": "stop"}

Moments = dict[tuple[str, str], float]
"""When containers started and stopped, by ID and verb."""


def measure(run: Run) -> None:
    with private_bus() as bus:
        for present in PRESENT:
            for checkout in run.turns(ROUNDS):
                with_fake(run, bus.address, checkout, present)
        if reason := dockerd.missing():
            for name in ("start", "stop", "cpu"):
                run.figures.absent[f"containers.dockerd.{name}"] = reason
            return
        for checkout in run.turns(ROUNDS):
            with_dockerd(run, bus.address, checkout)


@contextmanager
def private_bus() -> Iterator[PrivateBus]:
    with tempfile.TemporaryDirectory() as folder:
        bus = PrivateBus(Path(folder))
        bus.start()
        try:
            yield bus
        finally:
            bus.kill()


def with_fake(run: Run, address: str, checkout: Checkout, present: int) -> None:
    """Measure the delays with a number of containers present."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(FakeEngine(folder / "docker.sock"))
        engine.run(present, OPTS_IN)
        text = settings(backends="docker", docker=folder / "docker.sock")
        agent = stack.enter_context(on_bus(checkout, folder, address, text))
        wait_until_calm(agent.pid)
        monitor = stack.enter_context(BusMonitor(address))
        moments: Moments = {}
        for _ in range(CYCLES):
            began = time.perf_counter()
            (container,) = engine.run(1, OPTS_IN)
            moments[container.id, "start"] = began
            time.sleep(PAUSE)
            moments[container.id, "stop"] = engine.stop(container)
            time.sleep(PAUSE)
        time.sleep(1)
        add_delays(run, checkout, f"containers.{present}", moments, monitor)


def add_delays(
    run: Run,
    checkout: Checkout,
    name: str,
    moments: Mapping[tuple[str, str], float],
    monitor: BusMonitor,
) -> None:
    """Add the time from each event to the agent's first signal of it."""
    waiting = dict(moments)
    for one in monitor.signals():
        if verb := EVENTS.get(one.member):
            began = waiting.pop((one.body[0], verb), 0.0)
            if began:
                run.add(f"{name}.{verb}", checkout, [1000 * (one.at - began)])


def with_dockerd(run: Run, address: str, checkout: Checkout, *, delays: bool = True) -> None:
    """Measure with a real daemon: the delays, and the processor time beside the daemon's."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        docker = stack.enter_context(Dockerd(folder))
        text = settings(backends="docker", docker=docker.socket)
        agent = stack.enter_context(on_bus(checkout, folder, address, text))
        wait_until_calm(agent.pid)
        cycle(docker, 3)
        ours, theirs = Cost(agent.pid), Cost(*docker.daemons())
        cycle(docker, REAL_CYCLES)
        each = 1000 / REAL_CYCLES
        used, floor = each * ours.cpu(), each * theirs.cpu()
        run.add("containers.dockerd.cpu", checkout, [used], [floor])
        if not delays:
            return
        monitor = stack.enter_context(BusMonitor(address))
        moments: Moments = {}
        threading.Thread(target=read_events, args=[docker.socket, moments], daemon=True).start()
        cycle(docker, REAL_CYCLES)
        add_delays(run, checkout, "containers.dockerd", moments, monitor)


def cycle(docker: Dockerd, count: int) -> None:
    """Run and remove containers, one after the other."""
    for number in range(count):
        identifier = docker.engine.create(f"cycle{number}", Labels=OPTS_IN)
        docker.engine.call("POST", f"/containers/{identifier}/start")
        time.sleep(REAL_PAUSE)
        docker.engine.call("DELETE", f"/containers/{identifier}?force=1")
        time.sleep(REAL_PAUSE)
    time.sleep(1)


def read_events(path: Path, moments: Moments) -> None:
    """Read the events of the daemon as ``docker events`` does; keep when they came."""
    connection = Connection(path, timeout=600)
    connection.request("GET", "/events")
    response = connection.getresponse()
    try:
        while line := response.readline():
            at, event = time.perf_counter(), json.loads(line)
            if verb := DOCKER_EVENTS.get(event.get("Action", "")):
                moments.setdefault((event["Actor"]["ID"], verb), at)
    except (OSError, http.client.HTTPException):
        pass  # the daemon has ended


if __name__ == "__main__":
    main("containers", measure, __doc__)
