"""Measures the announcement of 1 000 instances: time, processor time and memory.

A fake engine has the containers. A real agent and a real Avahi run in a private world; a peer with
an Avahi of its own resolves the names. For comparison, the same is measured with Avahi alone. Run
as root: ``python -m bench.announce [CONTAINERS [SAMPLES]]``.
"""

import asyncio
import http.client
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from bench.docker_flood import FILE, agent_pid, row
from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.capabilities.mdns.avahi.connections import GROUP, SERVER
from koi_agent.capabilities.mdns.avahi.entries import AVAHI, EVERY, NO_REVERSE
from tests.lan import Host, Lan
from tests.runtimes.fake_docker import FakeDocker
from tests.world import World

SETTINGS: Final = (
    "[Runtime]\nBackends=docker\nLogLevel=warning\n[Docker]\nSocket={socket}\n"
    "[Capabilities]\nImageLabels=yes\n"
)
COUNTED: Final = re.compile(r'koi_announcements\{[^}]*status="announced"\} (\d+)')
IDLE: Final = 20.0
"""Seconds for which the idle agent is measured."""


class Cost:
    """Processor time and memory of a process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def cpu(self) -> float:
        return int(Path(f"/proc/{self._pid}/schedstat").read_text().split()[0]) / 1e9

    def memory(self) -> int:
        """Return the resident memory in MB."""
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS:"))


class Page(http.client.HTTPConnection):
    """HTTP over the agent's own socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def announced(world: World) -> int:
    """Return the number of announced records by the agent's metrics."""
    page = Page(Path(f"/proc/{world.pid}/root/run/user/0/koi-runtime/http.sock"))
    try:
        page.request("GET", "/metrics")
        found = COUNTED.search(page.getresponse().read().decode())
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        page.close()
    return int(found[1]) if found else 0


async def resolved(peer: Connection, name: str) -> bool:
    """Resolve a name with the peer's Avahi; return False after 5 s."""
    try:
        body = [EVERY, EVERY, f"{name}.local", 0, 0]
        await peer.call(SERVER, "ResolveHostName", "iisiu", body, within=10)
    except CallError:
        return False
    return True


async def timed(peer: Connection, name: str, begin: Callable[[], Awaitable[None]]) -> float:
    """Return the milliseconds from ``begin`` until the peer resolves a name."""
    began = time.perf_counter()
    await begin()
    while not await resolved(peer, name):
        pass
    return 1000 * (time.perf_counter() - began)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ms median, {max(values):.0f} ms maximum"


async def measure(world: World, lan: Lan, folder: Path, count: int, samples: int) -> None:
    lan.box.start_avahi()
    async with (
        FakeDocker(folder / "docker.sock") as fake,
        connected(bus_of(lan.box)) as box,
        connected(bus_of(lan.peer)) as peer,
    ):
        await alone(box, peer, samples)
        file = world.home / FILE
        file.parent.mkdir(parents=True)
        file.write_text(SETTINGS.format(socket=fake.path))
        for number in range(count):
            run(fake, f"web{number}")
        began = time.monotonic()
        agent = world.spawn(sys.executable, "-m", "koi_agent", "run", "--user")
        try:
            while not await asyncio.to_thread(announced, world):
                await asyncio.sleep(0.1)
            ours, avahi = Cost(agent_pid(agent.pid)), Cost(agent_pid(lan.box.avahi.pid))
            while (known := await asyncio.to_thread(announced, world)) < 2 * count:
                await asyncio.sleep(0.1)
            row(f"exec to {known} records announced", f"{time.monotonic() - began:.1f} s")
            row("CPU until then", f"{ours.cpu():.1f} s, and Avahi's {avahi.cpu():.1f} s")
            row("memory, resident", f"{ours.memory()} MB")
            await changes(fake, peer, ours, samples)
            await idling(ours, avahi)
        finally:
            agent.terminate()
            began = time.monotonic()
            await asyncio.to_thread(agent.wait)
            row("until it has ended", f"{time.monotonic() - began:.1f} s")


def bus_of(host: Host) -> str:
    """Return the address of a host's system bus, as seen from outside its namespaces."""
    return f"unix:path=/proc/{host.pid}/root/run/dbus/system_bus_socket"


async def idling(ours: Cost, avahi: Cost) -> None:
    before = ours.cpu(), avahi.cpu()
    await asyncio.sleep(IDLE)
    used = (ours.cpu() - before[0], avahi.cpu() - before[1])
    row("CPU at idle", f"{100 * used[0] / IDLE:.2f} %, and Avahi's {100 * used[1] / IDLE:.2f} %")


def run(fake: FakeDocker, name: str) -> None:
    number = len(fake.containers.all)
    labels = {"koi.announce": name, "koi.txt.path": "/"}
    fake.containers.run(labels=labels, port=1024 + number, health="healthy")


async def alone(own: Connection, peer: Connection, samples: int) -> None:
    """Measure Avahi alone: from the publication of an address until the peer resolves it."""
    taken = []
    for number in range(samples):

        async def begin(name: str = f"alone{number}") -> None:
            (path,) = await own.call(SERVER, "EntryGroupNew")
            group = (AVAHI, path, GROUP)
            body = [EVERY, EVERY, NO_REVERSE, f"{name}.local", "192.0.2.1"]
            await own.call(group, "AddAddress", "iiuss", body)
            await own.call(group, "Commit")

        taken.append(await timed(peer, f"alone{number}", begin))
    row("Avahi alone, until a name is resolved", spread(taken))


async def changes(fake: FakeDocker, peer: Connection, ours: Cost, samples: int) -> None:
    """Measure one more container: the time until its name resolves, and the processor time."""
    taken, before = [], ours.cpu()
    for number in range(samples):

        async def begin(name: str = f"more{number}") -> None:
            run(fake, name)

        taken.append(await timed(peer, f"more{number}", begin))
    row("start to resolved by a peer", spread(taken))
    row("CPU for each", f"{1000 * (ours.cpu() - before) / samples:.1f} ms")


def main() -> None:
    count, samples = [*map(int, sys.argv[1:]), *(1_000, 20)[len(sys.argv) - 1 :]]
    with World("bench") as world, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Lan(world, folder) as lan:
            asyncio.run(measure(world, lan, folder, count, samples))


if __name__ == "__main__":
    main()
