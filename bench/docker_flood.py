"""Measures the agent with 10 000 containers and a flood of events, as its users see it.

A fake engine, a process of its own, has the containers. A real agent in a private world follows
it. Run as root: ``python -m bench.docker_flood [CONTAINERS [EVENTS_PER_SECOND [SECONDS]]]``.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from koi_agent.bus.client import Connection, connected
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT
from tests.namespaces import CHECKOUT
from tests.world import World

FILE: Final = ".config/koi-runtime/koi-runtime.conf.d/10-bench.conf"
PEER: Final = (NAME, ROOT, "org.freedesktop.DBus.Peer")
EVENTS: Final = ("InstanceStarted", "InstanceUpdated", "InstanceStopped")


class Bench:
    """The agent's process, its signals, and the duration of its replies."""

    def __init__(self, pid: int, link: Connection) -> None:
        self.pid = pid
        self.link = link
        self.signals = 0
        self.pings: list[float] = []

    def status(self, key: str) -> int:
        """Return a value of /proc/PID/status in MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{key}:"))

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def take(self, items: list[Signal | Changed]) -> None:
        self.signals += len(items)

    async def ping(self) -> None:
        """Ping the agent all the time: the longest wait is the longest stall."""
        while True:
            began = time.perf_counter()
            await self.link.call(PEER, "Ping")
            self.pings.append(time.perf_counter() - began)
            await asyncio.sleep(0.002)

    async def count(self) -> int:
        target = (NAME, ROOT, MANAGER)
        (rows,) = await self.link.call(target, "ListBackends")
        return int(rows[0][2])


def row(what: str, value: str) -> None:
    print(f"{what:42} {value}", flush=True)  # noqa: T201 - the report


def stalls(pings: list[float]) -> str:
    if not pings:
        return "-"
    milliseconds = sorted(1000 * ping for ping in pings)
    middle = statistics.median(milliseconds)
    return f"{milliseconds[-1]:.0f} ms maximum, {middle:.1f} ms median, {len(pings)} pings"


async def measure(world: World, socket: Path, count: int, rate: int, seconds: float) -> None:
    fake = subprocess.Popen(
        [sys.executable, "-m", "tests.runtimes.fake_docker", socket, "--containers", str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )
    assert fake.stdin is not None
    assert fake.stdout is not None
    with fake:
        fake.stdout.readline()
        file = world.home / FILE
        file.parent.mkdir(parents=True)
        file.write_text(
            f"[Runtime]\nBackends=docker\nLogLevel=warning\n[Docker]\nSocket={socket}\n"
        )
        began = time.monotonic()
        agent = world.spawn(sys.executable, "-m", "koi_agent", "run", "--user")
        try:
            await observe(world, agent.pid, count, began)
            async with connected(world.bus_address) as link:
                await flood(Bench(agent_pid(agent.pid), link), fake, rate, seconds)
        finally:
            agent.terminate()
            await asyncio.to_thread(agent.wait)
            fake.stdin.close()


def agent_pid(spawned: int) -> int:
    """Find the agent behind what entered the world for it."""
    pid = spawned
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[0])
    return pid


async def observe(world: World, spawned: int, count: int, began: float) -> None:
    while True:
        try:
            async with connected(world.bus_address) as link:
                bench = Bench(agent_pid(spawned), link)
                while await bench.count() < count:
                    await asyncio.sleep(0.02)
                row(f"exec to {count} published", f"{time.monotonic() - began:.2f} s")
                pinging = asyncio.create_task(bench.ping())  # noqa: TID251 - ended below
                before = -1.0
                while bench.cpu() - before > 0.25:  # until all are inspected
                    before = bench.cpu()
                    await asyncio.sleep(1)
                pinging.cancel()
                row("exec to all inspected", f"{time.monotonic() - began:.2f} s")
                row("stall meanwhile", stalls(bench.pings))
                row("memory, resident", f"{bench.status('VmRSS')} MB")
                return
        except Exception:  # noqa: BLE001 - it is not there yet
            await asyncio.sleep(0.02)


async def flood(bench: Bench, fake: "subprocess.Popen[str]", rate: int, seconds: float) -> None:
    assert fake.stdin is not None
    assert fake.stdout is not None
    wanted = Subscription(
        sender=NAME,
        rules=(f"type='signal',sender='{NAME}',interface='{MANAGER}'",),
        members=frozenset((MANAGER, member) for member in EVENTS),
        deliver=bench.take,
    )
    async with bench.link.subscribed(wanted):
        cpu = bench.cpu()
        pinging = asyncio.create_task(bench.ping())  # noqa: TID251 - ended below
        began = time.monotonic()
        fake.stdin.write(f"{rate} {seconds}\n")
        fake.stdin.flush()
        sent = int(await asyncio.to_thread(fake.stdout.readline))
        ended = time.monotonic()
        signals = -1
        while signals != bench.signals:
            signals = bench.signals
            await asyncio.sleep(0.2)
        pinging.cancel()
        row(
            "events sent", f"{sent} in {ended - began:.1f} s, {sent / (ended - began):.0f} a second"
        )
        row("signals", f"{bench.signals}")
        row("until the last signal", f"{time.monotonic() - ended - 0.2:.2f} s")
        row("CPU", f"{100 * (bench.cpu() - cpu) / (ended - began):.0f} %")
        row("stall meanwhile", stalls(bench.pings))
        row("memory, resident", f"{bench.status('VmRSS')} MB")


def main() -> None:
    count, rate, seconds = [*map(int, sys.argv[1:]), *(10_000, 2_000, 30)[len(sys.argv) - 1 :]]
    with World("bench") as world, tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(world, Path(folder) / "docker.sock", count, rate, seconds))


if __name__ == "__main__":
    main()
