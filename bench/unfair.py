"""Measures how long others wait while an unprivileged user does its worst.

A real agent on a private bus follows a fake engine with 2 000 containers. A process of another
user opens 300 connections to the bus and 300 to the HTTP socket: it floods, disconnects, is silent,
sends half of a request and holds event streams. Meanwhile a third user lists the instances and
root reloads. Run as root: ``python -m bench.unfair [CONTAINERS [CONNECTIONS [SECONDS]]]``.
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench.announce import Cost
from bench.docker_flood import FILE, row
from koi_agent.bus import sasl
from koi_agent.bus.client import BUS, BUS_PATH, CallError, Connection, connected
from koi_agent.bus.messages import Flag, Header, MessageType, encode
from koi_agent.bus.writer import BusLost
from koi_agent.core.dbus_names import INSTANCES, MANAGER, NAME, ROOT
from tests.bus.raw_client import raw_client
from tests.namespaces import CHECKOUT
from tests.world.bus import PrivateBus
from tests.world.users import NOBODY, acting_as

OTHER: Final = 1
"""The user that lists."""
SETTINGS: Final = "[Runtime]\nBackends=docker\nLogLevel=err\n[Docker]\nSocket={socket}\n"
OBJECTS: Final = (ROOT, "org.freedesktop.DBus.ObjectManager")
INTROSPECTABLE: Final = "org.freedesktop.DBus.Introspectable"
PEER: Final = "org.freedesktop.DBus.Peer"
SINK: Final = "org.example.Sink1"
"""A service that answers nothing. What others wait while it is attacked is the bus's own."""
MANY: Final = '<limit name="max_connections_per_user">4096</limit>\n  '
"""Allows more connections than the 256 of a user on a bus of the system."""
FLOOD: Final = int(os.environ.get("FLOOD", "100"))
"""Calls that are sent before a connection ends, or before replies are read."""
HEAD: Final = b"GET /v1/runtime/instances HTTP/1.1\r\nHost: localhost\r\n"
STREAM: Final = b"GET /v1/runtime/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


# The hostile user, a process of its own


@dataclass(frozen=True)
class Harm:
    """Calls of one kind: ``turns`` floods on each connection, a second apart."""

    target: tuple[str, str]
    member: str
    reads: bool = True
    turns: int = 20
    flags: int = 0

    def frames(self, destination: str) -> bytes:
        """Return all calls of one turn; none has the serial of Hello."""
        path, interface = self.target
        header = Header(kind=MessageType.CALL, path=path, interface=interface, member=self.member)
        header.destination, header.flags = destination, self.flags
        return b"".join(encode(replace(header, serial=2 + at)) for at in range(FLOOD))


HARMS: Final = (
    Harm(OBJECTS, "GetManagedObjects"),
    Harm(OBJECTS, "GetManagedObjects", reads=False),
    Harm((ROOT, MANAGER), "ListInstances", turns=1),
    Harm((INSTANCES, INTROSPECTABLE), "Introspect"),
    Harm((INSTANCES, INTROSPECTABLE), "Introspect", reads=False, turns=1),
    Harm((INSTANCES, INTROSPECTABLE), "Introspect", flags=Flag.NO_REPLY_EXPECTED),
    Harm((ROOT, MANAGER), "Unknown"),
    Harm((ROOT, PEER), "Ping"),
)


async def on_bus(address: str, harm: Harm, destination: str) -> None:
    """Connect and do harm, again and again."""
    frames, loop = harm.frames(destination), asyncio.get_running_loop()
    hello = Header(kind=MessageType.CALL, path=BUS_PATH, interface=BUS, member="Hello", serial=1)
    hello.destination = BUS
    while True:
        with suppress(BusLost, OSError), await sasl.connect(address) as sock:
            await loop.sock_sendall(sock, encode(hello))
            for _ in range(harm.turns):
                await loop.sock_sendall(sock, frames)
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        while harm.reads and await loop.sock_recv(sock, 1 << 18):
                            pass
                        await asyncio.sleep(1)
        await asyncio.sleep(0.05)


async def on_http(path: str, sent: bytes) -> None:
    """Connect, send, and connect again once the agent closes the connection."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(sent)
            while await reader.read(65536):
                if sent.startswith(HEAD) and sent.endswith(b"\r\n\r\n"):
                    writer.write(sent)
            writer.close()
        await asyncio.sleep(0.05)


async def hurt(address: str, path: str, destination: str, connections: int) -> None:
    http = (b"", HEAD, STREAM, HEAD + b"\r\n") if os.environ.get("HTTP", "1") == "1" else (b"",)
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(on_bus(address, HARMS[number % len(HARMS)], destination))
            group.create_task(on_http(path, http[number % len(http)]))


@contextmanager
def hostile(address: str, path: Path, destination: str, connections: int) -> Iterator[None]:
    arguments = ["--harm", address, str(path), destination, str(connections)]
    command = [sys.executable, "-m", "bench.unfair", *arguments]
    with subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL) as process:
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


async def list_on_bus(address: str) -> None:
    """Get the reply that "koi-runtime list" asks for; reading it takes longer than the wait."""
    with acting_as(OTHER):
        async with raw_client(address) as client:
            reply = await client.call((NAME, *OBJECTS), "GetManagedObjects")
    if reply.header.kind != MessageType.RETURN:
        raise ConnectionError(f"no list: {reply.header.error_name}")


async def ask_bus(address: str) -> None:
    """Call the bus alone, whose one thread serves all users."""
    with acting_as(OTHER):
        async with raw_client(address) as client:
            await client.call((BUS, BUS_PATH, BUS), "GetId")


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
    async with connected(address) as link:
        await link.call((NAME, ROOT, MANAGER), "Reload")


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
def sink(address: str) -> Iterator[None]:
    """Run a service that reads calls and answers none."""
    command = [sys.executable, "-m", "bench.unfair", "--sink", address]
    with subprocess.Popen(command, cwd=CHECKOUT) as process:
        try:
            yield
        finally:
            process.kill()


async def swallow(address: str) -> None:
    async with connected(address) as link:
        await link.request_name(SINK)
        await link.wait_closed()


@contextmanager
def engine(socket: Path, count: int) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.runtimes.fake_docker", socket, "--containers"]
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
    count, connections, seconds = options
    with agent(folder, address) as pid:
        await listed(address, count)
        path = folder / "koi-runtime/http.sock"
        await asyncio.sleep(3)  # all containers are inspected
        await others(address, path, seconds / 4, "undisturbed")
        cost = Cost(pid)
        with sink(address), hostile(address, path, SINK, connections):
            await asyncio.sleep(2)
            await others(address, path, seconds / 2, "bus attacked")
        await asyncio.sleep(2)
        with hostile(address, path, NAME, connections):
            await asyncio.sleep(2)
            began, before = time.monotonic(), cost.cpu()
            await others(address, path, seconds, "attacked")
            share = (cost.cpu() - before) / (time.monotonic() - began)
            row("CPU meanwhile", f"{100 * share:.0f} %")
        for second in range(1, 5):
            await asyncio.sleep(1)
            before = cost.cpu()
            await asyncio.sleep(0.5)
            row(f"CPU {second} s after the end", f"{100 * (cost.cpu() - before) / 0.5:.0f} %")
        row("memory, resident", f"{cost.memory()} MB")


def main() -> None:
    if sys.argv[1:2] == ["--harm"]:
        address, path, destination, connections = sys.argv[2:]
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        asyncio.run(hurt(address, path, destination, int(connections)))
    if sys.argv[1:2] == ["--sink"]:
        asyncio.run(swallow(sys.argv[2]))
        return
    options = [*map(int, sys.argv[1:]), *(2_000, 300, 20)[len(sys.argv) - 1 :]]
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
