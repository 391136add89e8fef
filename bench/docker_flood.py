"""Measures the agent with 10 000 containers and a flood of events, as its users see it.

A fake engine, a process of its own, has the containers, which opt in. A real agent on a bus of its
own follows it. It needs no root. Options: ``--containers=N``, ``--rate=N``, ``--seconds=N``.
"""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.agents import CONFIGURATION, engine, on_bus, settings
from bench.containers import private_bus
from bench.measurements import MEASUREMENTS
from bench.parts import Checkout, Run, checkouts, parser
from bench.processes import Cost, resident
from bench.report import Figures, print_lines, table
from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT

FILE: Final = f".config/{CONFIGURATION}"
PEER: Final = (NAME, ROOT, "org.freedesktop.DBus.Peer")
EVENTS: Final = ("InstanceStarted", "InstanceUpdated", "InstanceStopped")
INSPECTED: Final = 0.25
"""Seconds of processor time in a second, below which the containers are inspected."""


@dataclass(frozen=True, slots=True)
class Flood:
    """The size of a flood."""

    containers: int = 10_000
    rate: int = 2_000
    """Events a second."""
    seconds: float = 20


@dataclass
class Observer:
    """The signals that came, and how long the agent took to reply."""

    link: Connection
    signals: int = 0
    last: float = 0.0
    pings: list[float] = field(default_factory=list)

    def receive(self, items: Sequence[Signal | Changed]) -> None:
        self.signals += len(items)
        self.last = time.monotonic()

    async def ping(self) -> None:
        """Ping the agent all the time: the longest wait is the longest stall."""
        while True:
            began = time.perf_counter()
            await self.link.call(PEER, "Ping")
            self.pings.append(time.perf_counter() - began)
            await asyncio.sleep(0.002)

    async def count(self) -> int:
        """Return the number of containers that the agent publishes; 0 while it starts."""
        with suppress(CallError):
            (rows,) = await self.link.call((NAME, ROOT, MANAGER), "ListBackends")
            return int(rows[0][2])
        return 0


def row(what: str, value: str) -> None:
    print(f"{what:42} {value}", flush=True)  # noqa: T201 - the report


@dataclass(frozen=True, slots=True)
class Subject:
    """One agent in a flood: where its figures go, and the engine that it follows."""

    run: Run
    checkout: Checkout
    pid: int
    fake: "subprocess.Popen[str]"
    flood: Flood
    executed: float
    """When it was executed, by ``time.monotonic``."""

    def add(self, name: str, value: float) -> None:
        self.run.add(f"flood.{name}", self.checkout, [value])


def measure(run: Run, flood: Flood = Flood()) -> None:
    with private_bus() as bus:
        for checkout in run.turns(1):
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                fake = stack.enter_context(engine(folder / "docker.sock", flood.containers))
                text = settings(backends="docker", docker=folder / "docker.sock")
                agent = stack.enter_context(on_bus(checkout, folder, bus.address, text))
                executed = time.monotonic() - agent.ready
                subject = Subject(run, checkout, agent.pid, fake, flood, executed)
                asyncio.run(observe(subject, bus.address))


async def observe(subject: Subject, address: str) -> None:
    """Measure one agent from its start to the end of the flood."""
    async with connected(address) as link:
        observer = Observer(link)
        while await observer.count() < subject.flood.containers:
            await asyncio.sleep(0.02)
        subject.add("published", time.monotonic() - subject.executed)
        used = 1.0
        while used > INSPECTED:
            cost = Cost(subject.pid)
            await asyncio.sleep(1)
            used = cost.cpu()
        subject.add("inspected", time.monotonic() - subject.executed - 1)
        wanted = Subscription(
            sender=NAME,
            rules=(f"type='signal',sender='{NAME}',interface='{MANAGER}'",),
            members=frozenset((MANAGER, member) for member in EVENTS),
            deliver=observer.receive,
        )
        async with link.subscribed(wanted):
            await pour(subject, observer)
        subject.add("resident", resident(subject.pid))


async def pour(subject: Subject, observer: Observer) -> None:
    """Measure the work of one flood, and the stalls of another one: pings are work, too."""
    cost = Cost(subject.pid)
    began, ended = await flooded(subject, observer)
    subject.add("cpu", 100 * cost.cpu() / (ended - began))
    subject.add("late", max(0.0, observer.last - ended))
    async with asyncio.TaskGroup() as group:
        pinging = group.create_task(observer.ping())
        await flooded(subject, observer)
        pinging.cancel()
    subject.add("stall", 1000 * max(observer.pings, default=0.0))


async def flooded(subject: Subject, observer: Observer) -> tuple[float, float]:
    """Send the events, and wait for the signals of all; return when the first and last was sent."""
    fake = subject.fake
    assert fake.stdin is not None
    assert fake.stdout is not None
    began = time.monotonic()
    fake.stdin.write(f"{subject.flood.rate} {subject.flood.seconds}\n")
    fake.stdin.flush()
    await asyncio.to_thread(fake.stdout.readline)
    ended = time.monotonic()
    signals = -1
    while signals != observer.signals:
        signals = observer.signals
        await asyncio.sleep(0.5)
    return began, ended


def main() -> None:
    words = parser(__doc__)
    words.add_argument("--containers", type=int, default=Flood().containers)
    words.add_argument("--rate", type=int, default=Flood().rate)
    words.add_argument("--seconds", type=float, default=Flood().seconds)
    chosen = words.parse_args()
    run = Run(checkouts(chosen.before), Figures(), chosen.quick)
    measure(run, Flood(chosen.containers, chosen.rate, chosen.seconds))
    if chosen.json:
        print_lines([run.figures.dump()])
    else:
        names = [name for name, one in MEASUREMENTS.items() if one.part == "docker_flood"]
        print_lines(table(run.figures, names))


if __name__ == "__main__":
    main()
