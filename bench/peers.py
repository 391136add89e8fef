"""Measures programs that do part of the agent's work, where they are installed.

``python -m bench.peers`` as root: node_exporter's systemd collector, and docker-gen. The variable
``KOI_DAEMON=`` is the path of an upstream Koi daemon.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from bench.agents import (
    Page,
    agent_of,
    bus_and_manager,
    in_world,
    on_bus,
    services,
    settings,
    wait_until_calm,
)
from bench.containers import private_bus
from bench.fake_engine import OPTS_IN, FakeEngine
from bench.parts import Run, main
from bench.processes import Cost, resident
from tests.namespaces import wait_until
from tests.world import World

UNITS: Final = 199
"""Besides the bus."""
SCRAPES: Final = 20
CYCLES: Final = 50
PAUSE: Final = 0.05
EXPORTER: Final = "prometheus-node-exporter"
PORT: Final = 19_100


def measure(run: Run) -> None:
    if shutil.which(EXPORTER):
        with World("bench") as world:
            world.systemctl("start", *services(world, range(UNITS)))
            with_node_exporter(run, world)
    else:
        for name in ("resident", "cpu"):
            run.figures.absent[f"peers.node_exporter.{name}"] = "not installed"
    with private_bus() as bus:
        with_engine(run, bus.address)


def with_node_exporter(run: Run, world: World) -> None:
    """Compare answers of ``/metrics`` with scrapes of node_exporter in the same world."""
    folder = world.home
    process = world.spawn(
        EXPORTER,
        *("--collector.disable-defaults", "--collector.systemd", "--log.level=error"),
        f"--web.listen-address=127.0.0.1:{PORT}",
        # The manager of the world is a user's, on the bus of a session.
        env={"DBUS_SYSTEM_BUS_ADDRESS": world.environment["DBUS_SESSION_BUS_ADDRESS"]},
    )
    try:
        scrape = scraper(world)
        wait_until(lambda: scrape() == 0, "node_exporter answers")
        theirs = Cost(process.pid, *bus_and_manager(world))
        for _ in range(SCRAPES):
            scrape()
        floor, memory = theirs.cpu(), resident(process.pid)
    finally:
        process.terminate()
        process.wait()
    for checkout in run.turns(1):
        with in_world(world, checkout, folder, settings(backends="systemd")) as agent:
            wait_until_calm(agent.pid)
            with closing(Page(agent.page)) as page:
                page.get("/metrics")
                ours = Cost(agent.pid, *bus_and_manager(world))
                for _ in range(SCRAPES):
                    page.get("/metrics")
            each = 1000 / SCRAPES
            run.add("peers.node_exporter.cpu", checkout, [each * ours.cpu()], [each * floor])
            run.add("peers.node_exporter.resident", checkout, [resident(agent.pid)], [memory])


def scraper(world: World) -> Callable[[], int]:
    """Return a function that scrapes node_exporter; it returns 0 for an answer."""
    url = f"http://127.0.0.1:{PORT}/metrics"
    command = ("curl", "--silent", "--fail", "--output", "/dev/null", url)
    return lambda: world.run(*command, check=False).returncode


# Programs that follow an engine


def followers() -> Iterator[tuple[str, list[str] | str]]:
    """Yield the row of each program, and its command line or the reason why it does not run."""
    koi = os.environ.get("KOI_DAEMON", "")
    yield "koi", [koi, "--daemon"] if koi else "not installed (KOI_DAEMON= names it)"
    generator = shutil.which("docker-gen")
    yield "docker_gen", [generator, "-watch", "/dev/null"] if generator else "not installed"
    found = shutil.which("registrator")
    yield "registrator", "it needs a Consul or etcd" if found else "not installed"


def with_engine(run: Run, address: str) -> None:
    """Compare the processor time of container cycles with each program that is installed."""
    floors: dict[str, float] = {}
    for name, command in followers():
        if isinstance(command, str):
            run.figures.absent[f"peers.{name}"] = command
        else:
            with follower(command) as (pid, engine):
                floors[name] = cycles(engine, pid)
    for checkout in run.turns(1) if floors else ():
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            engine = stack.enter_context(FakeEngine(folder / "docker.sock"))
            text = settings(backends="docker", docker=folder / "docker.sock")
            agent = stack.enter_context(on_bus(checkout, folder, address, text))
            wait_until_calm(agent.pid)
            ours = cycles(engine, agent.pid)
            for name, floor in floors.items():
                run.add(f"peers.{name}", checkout, [ours], [floor])


@contextmanager
def follower(command: list[str]) -> Iterator[tuple[int, FakeEngine]]:
    """Run a program that follows a fake engine; yield its PID and the engine."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(FakeEngine(folder / "docker.sock"))
        variables = {"DOCKER_HOST": f"unix://{folder / 'docker.sock'}", "HOME": str(folder)}
        variables |= {"KOI_DATA_DIR": str(folder / "koi"), "KOI_NO_CREDENTIAL_STORE": "1"}
        process = subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        time.sleep(2)
        yield agent_of(process.pid), engine


def cycles(engine: FakeEngine, pid: int) -> float:
    """Return the milliseconds of processor time for a container that starts and stops."""
    cost = Cost(pid)
    for _ in range(CYCLES):
        (container,) = engine.run(1, OPTS_IN)
        time.sleep(PAUSE)
        engine.stop(container)
        time.sleep(PAUSE)
    time.sleep(1)
    return 1000 * cost.cpu() / CYCLES


if __name__ == "__main__":
    main("peers", measure, __doc__)
