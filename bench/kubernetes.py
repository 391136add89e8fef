"""Measures the agent with 5 000 pods that change: ``python -m bench.kubernetes``.

It uses the real API server that ``KUBE_APISERVER`` names, and the fake one of the tests without it.
It needs no root.
"""

import asyncio
import bisect
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.agents import Agent, on_bus, settings, wait_until_calm
from bench.clusters import FakePods, Moments, Pods, RealPods
from bench.containers import private_bus
from bench.docker_flood import Observer
from bench.measurements import MEASUREMENTS
from bench.monitor import BusMonitor, Stamped
from bench.parts import Checkout, Run, main
from bench.pings import pinging
from bench.processes import Cost, resident
from koi_agent.bus.client import connected
from tests.kubernetes import missing
from tests.runtimes.fake_cluster import NODE

COUNT: Final = 5_000
RATE: Final = 500
SECONDS: Final = 60.0
"""Seconds of changes, within which there is one full list."""
SETTLED: Final = 5.0
"""Seconds after the last change within which its signal comes."""
UPDATES: Final = "type='signal',member='InstanceUpdated'"


def measure(run: Run) -> None:
    reason = missing()
    kind, other = ("fake", "real") if reason else ("real", "fake")
    for name in MEASUREMENTS:
        if name.startswith(f"kubernetes.{other}."):
            run.figures.absent[name] = reason or "the real one is there"
    with ExitStack() as stack:
        bus = stack.enter_context(private_bus())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pods: Pods = FakePods(folder) if reason else RealPods(folder)
        stack.enter_context(pods)
        pods.fill(COUNT)
        for checkout in run.turns(1):
            Subject(run, f"kubernetes.{kind}", checkout, bus.address).measure(pods)


class Subject:
    """The agent of one checkout, on a bus, and where its figures go."""

    def __init__(self, run: Run, prefix: str, checkout: Checkout, address: str) -> None:
        self._run = run
        self._prefix = prefix
        self._checkout = checkout
        self._address = address

    def _add(self, name: str, *values: float) -> None:
        self._run.add(f"{self._prefix}.{name}", self._checkout, values)

    def measure(self, pods: Pods) -> None:
        """Measure an agent that follows no cluster, and one that follows the pods."""
        with self._agent(Path("/nonexistent")) as agent:
            wait_until_calm(agent.pid)
            without = resident(agent.pid)
        with self._agent(pods.kubeconfig) as agent:
            asyncio.run(self._follow(agent))
            self._add("memory", resident(agent.pid) - without)
            with BusMonitor(self._address, [UPDATES]) as monitor:
                with pinging(self._address) as pings:
                    changes = self._pour(agent, pods)
                self._add("stall", pings.longest)
                found = delays(changes, monitor.signals())
            self._add("delay", *found)
            self._add("tail", *found)
            self._add("after", resident(agent.pid) - without)

    @contextmanager
    def _agent(self, kubeconfig: Path) -> Iterator[Agent]:
        lines = ["[Kubernetes]", f"Kubeconfig={kubeconfig}", f"Node={NODE}", ""]
        text = settings(backends="kubernetes") + "\n".join(lines)
        with (
            tempfile.TemporaryDirectory() as folder,
            on_bus(self._checkout, Path(folder), self._address, text) as agent,
        ):
            yield agent

    async def _follow(self, agent: Agent) -> None:
        """Wait until all pods are published, and the agent does little."""
        executed = time.monotonic() - agent.ready
        async with connected(self._address) as link:
            observer = Observer(link)
            while await observer.count() < COUNT:
                await asyncio.sleep(0.02)
        self._add("published", time.monotonic() - executed)
        await asyncio.to_thread(wait_until_calm, agent.pid)

    def _pour(self, agent: Agent, pods: Pods) -> Moments:
        """Change pods; return when each was changed."""
        seconds = SECONDS / 2 if self._run.quick else SECONDS
        cost, began = Cost(agent.pid), time.monotonic()
        changes = pods.pour(RATE, seconds)
        lasted = time.monotonic() - began
        self._add("cpu", 100 * cost.cpu() / lasted)
        self._add("rate", RATE * seconds / lasted)
        time.sleep(SETTLED)
        return changes


def delays(changes: Moments, signals: Iterable[Stamped]) -> list[float]:
    """Return the milliseconds from each change until the next signal of its pod."""
    came: dict[str, list[float]] = defaultdict(list)
    for one in signals:
        came[one.body[0]].append(one.at)
    found = []
    for uid, moments in changes.items():
        for moment in moments:
            following = bisect.bisect(came[uid], moment)
            if following == len(came[uid]):
                raise LookupError(f"a change of {uid} had no signal")
            found.append(1000 * (came[uid][following] - moment))
    return found


if __name__ == "__main__":
    main("kubernetes", measure, __doc__)
