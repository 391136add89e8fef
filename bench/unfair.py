"""Measures how long others wait while an unprivileged user does its worst.

A real agent on a private bus follows a fake engine with 2 000 containers. A process of another
user opens 300 connections to the bus and 300 to the HTTP socket: it asks for large and small
replies, reads them or not, expects none, calls unknown methods, disconnects, is silent, sends half
of a request and holds event streams. Meanwhile a third user lists the instances and root reloads.
The floor is what users wait for the bus and for a service that does nothing but is attacked.
Each connection to the bus sends some calls a second. With 100, the bus alone answers no user.
Run as root: ``python -m bench.unfair [CONTAINERS [CONNECTIONS [SECONDS [CALLS]]]]``.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.announce import Cost
from bench.docker_flood import FILE, row
from bench.hostile import HEAD, OBJECTS, PEER, SINK, STREAM
from koi_agent.bus import blocking
from koi_agent.bus.calls import Call
from koi_agent.bus.client import BUS, BUS_PATH, CallError, connected
from koi_agent.bus.messages import Message, MessageType
from koi_agent.bus.writer import BusLost
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT
from tests.namespaces import CHECKOUT
from tests.world.bus import PrivateBus
from tests.world.users import acting_as

OTHER: Final = 1
"""The user that lists."""
SETTINGS: Final = "[Runtime]\nBackends=docker\nLogLevel=err\n[Docker]\nSocket={socket}\n"
MANY: Final = '<limit name="max_connections_per_user">4096</limit>\n  '
"""Allows more connections than the 256 of a user on a bus of the system."""


# The hostile user, and a service that does nothing


@contextmanager
def hostile(address: str, path: Path, destination: str, *options: int) -> Iterator[None]:
    """Run the hostile user with a number of connections, and of calls on each.

    Raises ``ChildProcessError`` if it has ended by itself: then nothing was attacked.
    """
    arguments = [address, str(path), destination, *map(str, options)]
    command = [sys.executable, "-m", "bench.hostile", *arguments]
    with subprocess.Popen(command, cwd=CHECKOUT) as process:
        try:
            yield
            if process.poll() is not None:
                raise ChildProcessError(f"the hostile user has ended: {process.returncode}")
        finally:
            process.kill()


@contextmanager
def sink(address: str) -> Iterator[None]:
    """Run a service that reads calls and answers none."""
    command = [sys.executable, "-m", "bench.hostile", "--sink", address]
    with subprocess.Popen(command, cwd=CHECKOUT) as process:
        try:
            yield
        finally:
            process.kill()


# The others


@dataclass
class Waits:
    """Seconds that each of the others waited."""

    of: dict[str, list[float]] = field(default_factory=dict)

    async def measure(self, name: str, ask: Callable[[], Awaitable[None]]) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(30):
                await ask()
        except (OSError, TimeoutError, CallError, BusLost) as error:
            row(f"{name} failed", repr(error))
        self.of.setdefault(name, []).append(time.perf_counter() - began)

    def show(self, when: str) -> None:
        for name, waits in self.of.items():
            middle, worst = 1000 * statistics.median(waits), 1000 * max(waits)
            text = f"{middle:.0f} ms median, {worst:.0f} ms worst of {len(waits)}"
            row(f"{name}, {when}", text)


def ask(address: str, uid: int, call: Call) -> Message:
    """Connect as a user, call and return the reply, as a command does."""
    with acting_as(uid), blocking.connected(address) as link:
        reply = link.ask(call)
    if reply.header.kind != MessageType.RETURN:
        raise ConnectionError(f"{call.member}: {reply.header.error_name}")
    return reply


async def list_on_bus(address: str) -> None:
    """Get the reply that "koi-runtime list" reads; reading it takes longer than the wait."""
    ask(address, OTHER, Call((NAME, *OBJECTS), "GetManagedObjects"))


async def ask_bus(address: str) -> None:
    """Call the bus alone, whose one thread serves all users."""
    ask(address, OTHER, Call((BUS, BUS_PATH, BUS), "GetId"))


async def ask_sink(address: str) -> None:
    ask(address, OTHER, Call((SINK, "/", PEER), "Ping"))


async def list_over_http(path: Path) -> None:
    with acting_as(OTHER):
        reader, writer = await asyncio.open_unix_connection(path)
    writer.write(HEAD + b"Connection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"no answer: {answer[:100]!r}")


async def stream_over_http(path: Path) -> None:
    """Wait for the first line of an event stream."""
    with acting_as(OTHER):
        reader, writer = await asyncio.open_unix_connection(path)
    writer.write(STREAM)
    answer = await reader.readline()
    writer.close()
    if b" 200 " not in answer:
        raise ConnectionError(f"no stream: {answer!r}")


async def reload(address: str) -> None:
    ask(address, 0, Call((NAME, ROOT, MANAGER), "Reload"))


async def floor(address: str, seconds: float) -> None:
    """Measure the bus and the sink, which is attacked as the agent is later."""
    waits = Waits()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await waits.measure("the bus alone", lambda: ask_bus(address))
        await waits.measure("sink", lambda: ask_sink(address))
        await asyncio.sleep(0.05)
    waits.show("floor")


async def others(address: str, path: Path, seconds: float, when: str) -> None:
    waits = Waits()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await waits.measure("the bus alone", lambda: ask_bus(address))
        await waits.measure("list on D-Bus", lambda: list_on_bus(address))
        await waits.measure("list over HTTP", lambda: list_over_http(path))
        await waits.measure("event stream", lambda: stream_over_http(path))
        await waits.measure("reload by root", lambda: reload(address))
        await asyncio.sleep(0.05)
    waits.show(when)


# The agent


@contextmanager
def engine(socket: Path, count: int) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.runtimes.fake_docker", str(socket), "--containers"]
    with subprocess.Popen(
        [*command, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    ) as fake:
        assert fake.stdin is not None
        assert fake.stdout is not None
        fake.stdout.readline()
        yield
        fake.stdin.close()


@contextmanager
def agent(folder: Path, address: str) -> Iterator[int]:
    """Run an agent on the bus; yield its PID."""
    file = folder / FILE.removeprefix(".config/")
    file.parent.mkdir(parents=True)
    file.write_text(SETTINGS.format(socket=folder / "docker.sock"))
    places = {"XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": str(folder)}
    environment = os.environ | places | {"DBUS_SESSION_BUS_ADDRESS": address}
    command = [sys.executable, "-m", "koi_agent", "run", "--user"]
    with subprocess.Popen(command, env=environment, cwd=CHECKOUT) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


async def listed(address: str, count: int) -> None:
    """Wait until the agent has all containers."""
    target = (NAME, ROOT, MANAGER)
    async with asyncio.timeout(120), connected(address) as link:
        while True:
            with suppress(CallError):
                (rows,) = await link.call(target, "ListBackends")
                if rows[0][2] == count:
                    return
            await asyncio.sleep(0.1)


async def measure(folder: Path, address: str, options: Sequence[int]) -> None:
    count, connections, seconds, calls = options
    with agent(folder, address) as pid:
        await listed(address, count)
        path = folder / "koi-runtime/http.sock"
        await asyncio.sleep(3)  # all containers are inspected
        await others(address, path, seconds / 4, "undisturbed")
        cost = Cost(pid)
        with sink(address), hostile(address, path, SINK, connections, calls):
            await asyncio.sleep(2)
            await floor(address, seconds / 4)
        await asyncio.sleep(2)
        with hostile(address, path, NAME, connections, calls):
            await asyncio.sleep(2)
            began, before = time.monotonic(), cost.cpu()
            await others(address, path, seconds, "attacked")
            share = (cost.cpu() - before) / (time.monotonic() - began)
            row("CPU meanwhile", f"{100 * share:.0f} %")
        await asyncio.sleep(1)
        before = cost.cpu()
        await asyncio.sleep(1)
        row("CPU from 1 s after the end", f"{100 * (cost.cpu() - before):.0f} %")
        row("memory, resident", f"{cost.memory()} MB")


def main() -> None:
    options = [*map(int, sys.argv[1:]), *(2_000, 300, 20, 30)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o711)
        bus = PrivateBus(folder)
        config = folder / "bus.conf"
        config.write_text(config.read_text().replace("<policy", f"{MANY}<policy", 1))
        bus.start()
        stack.callback(bus.kill)
        (folder / "bus").chmod(0o666)
        stack.enter_context(engine(folder / "docker.sock", options[0]))
        asyncio.run(measure(folder, bus.address, options))


if __name__ == "__main__":
    main()
