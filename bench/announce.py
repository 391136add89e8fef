"""Measures the path of an announcement: ``python -m bench.announce`` as root.

A fake engine has the containers. A real agent and a real Avahi run in a private world; a peer with
an Avahi of its own resolves the names. For comparison, the same is measured with Avahi alone.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from bench.agents import Agent, Page, agent_of, in_world, settings, wait_until_calm
from bench.fake_engine import FakeEngine
from bench.parts import Checkout, Run, main
from bench.processes import Cost
from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.capabilities.mdns.avahi.connections import GROUP, SERVER
from koi_agent.capabilities.mdns.avahi.entries import EVERY, NO_REVERSE
from koi_agent.capabilities.mdns.bus_names import AVAHI
from tests.lan import Host, Lan
from tests.namespaces import wait_until
from tests.world import World

__all__ = ["Cost"]  # bench.unfair imports it from here

ROUNDS: Final = 1
CONTAINERS: Final = 1_000
SAMPLES: Final = 20
COUNTED: Final = re.compile(rb'koi_announcements\{[^}]*status="announced"\} (\d+)')
LIMIT: Final = 300.0
"""Seconds until all are announced."""


def measure(run: Run) -> None:
    for checkout in run.turns(ROUNDS):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            world = stack.enter_context(World("bench"))
            lan = stack.enter_context(Lan(world, folder))
            lan.box.start_avahi()
            alone = asyncio.run(avahi_alone(lan))
            engine = stack.enter_context(FakeEngine(folder / "docker.sock"))
            engine.run_each([labels(f"web{number}") for number in range(CONTAINERS)])
            text = settings(backends="docker", docker=folder / "docker.sock")
            began = time.monotonic()
            agent = stack.enter_context(in_world(world, checkout, folder, text))
            wait_until_announced(agent)
            run.add("announce.all", checkout, [time.monotonic() - began])
            wait_until_calm(agent.pid)
            changes(run, checkout, lan, engine, agent, alone)


def wait_until_announced(agent: Agent) -> None:
    """Wait until the records of all containers are announced."""
    wait_until(lambda: announced(agent) >= 2 * CONTAINERS, "announced", timeout=LIMIT)


def labels(name: str) -> dict[str, str]:
    return {"koi.announce": name, "koi.txt.path": "/"}


def announced(agent: Agent) -> int:
    """Return the number of announced records by the agent's metrics."""
    time.sleep(0.2)
    with closing(Page(agent.page)) as page:
        found = COUNTED.search(page.get("/metrics"))
    return int(found[1]) if found else 0


def changes(
    run: Run,
    checkout: Checkout,
    lan: Lan,
    engine: FakeEngine,
    agent: Agent,
    alone: list[float],
) -> None:
    """Measure one more container: the time until its name resolves, and the processor time."""
    avahi = agent_of(lan.box.avahi.pid)
    ours, theirs = Cost(agent.pid), Cost(avahi)
    taken = asyncio.run(more(lan, engine))
    wait_until_calm(agent.pid)
    each = 1000 / SAMPLES
    run.add("announce.resolved", checkout, taken, alone)
    run.add("announce.cpu", checkout, [each * ours.cpu()], [each * theirs.cpu()])


async def more(lan: Lan, engine: FakeEngine) -> list[float]:
    async with connected(bus_of(lan.peer)) as peer:
        taken = []
        for number in range(SAMPLES):

            async def begin(name: str = f"more{number}") -> None:
                engine.run_each([labels(name)])

            taken.append(await timed(peer, f"more{number}", begin))
        return taken


async def avahi_alone(lan: Lan) -> list[float]:
    """Measure Avahi alone: from the publication of an address until the peer resolves it."""
    async with connected(bus_of(lan.box)) as box, connected(bus_of(lan.peer)) as peer:
        taken = []
        for number in range(SAMPLES):

            async def begin(name: str = f"alone{number}") -> None:
                (path,) = await box.call(SERVER, "EntryGroupNew")
                group = (AVAHI, path, GROUP)
                body = [EVERY, EVERY, NO_REVERSE, f"{name}.local", "192.0.2.1"]
                await box.call(group, "AddAddress", "iiuss", body)
                await box.call(group, "Commit")

            taken.append(await timed(peer, f"alone{number}", begin))
        return taken


def bus_of(host: Host) -> str:
    """Return the address of a host's system bus, as seen from outside its namespaces."""
    return f"unix:path=/proc/{host.pid}/root/run/dbus/system_bus_socket"


async def timed(peer: Connection, name: str, begin: Callable[[], Awaitable[None]]) -> float:
    """Return the milliseconds from ``begin`` until the peer resolves a name."""
    began = time.perf_counter()
    await begin()
    while not await resolved(peer, name):
        pass
    return 1000 * (time.perf_counter() - began)


async def resolved(peer: Connection, name: str) -> bool:
    """Resolve a name with the peer's Avahi; return False after 5 s."""
    try:
        body = [EVERY, EVERY, f"{name}.local", 0, 0]
        await peer.call(SERVER, "ResolveHostName", "iisiu", body, within=10)
    except CallError:
        return False
    return True


if __name__ == "__main__":
    main("announce", measure, __doc__)
