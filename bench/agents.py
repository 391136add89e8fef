"""Agents of a checkout, and the fake engine that they follow."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.monitor import BusMonitor, Stamped
from bench.parts import Checkout
from bench.processes import Cost, cpu
from koi_agent.core.dbus_names import NAME
from tests.namespaces import CHECKOUT, wait_until
from tests.world import World

CONFIGURATION: Final = "koi-runtime/koi-runtime.conf.d/10-bench.conf"
OWNERS: Final = "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'"
WAITING: Final = (
    *("bash", "-c"),
    'read -r _; [ -z "$HTTP" ] || exec 3<&"$HTTP"; LISTEN_PID=$$ exec "$@"',
    "waiting",
)
"""Enters namespaces first, and executes the program when a line comes: only that is measured."""
START_TIMEOUT: Final = 120.0
CALM: Final = 0.05
"""Seconds of processor time in a second."""


class Page(http.client.HTTPConnection):
    """HTTP over the agent's own socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))

    def get(self, target: str) -> bytes:
        """Return the body of a page."""
        self.request("GET", target)
        return self.getresponse().read()

    def listed(self) -> int:
        """Return the number of instances that the agent lists."""
        return len(json.loads(self.get("/v1/runtime/instances")))


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent, and how long it took to start, in seconds."""

    pid: int
    page: Path
    """Its HTTP socket."""
    owned: float
    ready: float
    cpu: float
    """Seconds of processor time until it was ready."""


def settings(*, backends: str, docker: Path | None = None, resync: str = "60s") -> str:
    lines = ["[Runtime]", f"Backends={backends}", "LogLevel=err", f"ResyncInterval={resync}"]
    if docker:
        # The fake engine has no images, from which its labels might come.
        lines += ["[Docker]", f"Socket={docker}", "[Capabilities]", "ImageLabels=yes"]
    return "\n".join([*lines, ""])


def configure(folder: Path, text: str) -> dict[str, str]:
    """Write a configuration; return the variable that makes an agent read it."""
    file = folder / CONFIGURATION
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return {"XDG_CONFIG_HOME": str(folder)}


@contextmanager
def engine(path: Path, count: int) -> Iterator["subprocess.Popen[str]"]:
    """Run a fake engine, whose containers opt in, as a process of its own."""
    program = [sys.executable, "-m", "tests.runtimes.fake_docker", str(path)]
    with subprocess.Popen(
        [*program, "--containers", str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    ) as fake:
        assert fake.stdin is not None
        assert fake.stdout is not None
        fake.stdout.readline()
        try:
            yield fake
        finally:
            fake.stdin.close()


@contextmanager
def in_world(
    world: World, checkout: Checkout, folder: Path, text: str, **environment: str
) -> Iterator[Agent]:
    """Run an agent in a world, from exec until it is ready and until the block ends."""
    with started_by_systemd(folder, text) as started:
        process = world.spawn(
            *WAITING,
            *checkout.command("run", "--user"),
            stdin=subprocess.PIPE,
            pass_fds=[started.http.fileno()],
            env={**started.environment, **environment},
        )
        with observed(process, world.bus_address, started) as agent:
            yield agent


@contextmanager
def on_bus(checkout: Checkout, folder: Path, address: str, text: str) -> Iterator[Agent]:
    """Run an agent on a bus without systemd, until the block ends."""
    with started_by_systemd(folder, text) as started:
        process = subprocess.Popen(
            [*WAITING, *checkout.command("run", "--user")],
            stdin=subprocess.PIPE,
            pass_fds=[started.http.fileno()],
            text=True,
            env=os.environ
            | started.environment
            | {"XDG_RUNTIME_DIR": str(folder), "DBUS_SESSION_BUS_ADDRESS": address},
        )
        with observed(process, address, started) as agent:
            yield agent


@dataclass(frozen=True, slots=True)
class Started:
    """The sockets that systemd passes to a service: for HTTP, and for notifications."""

    http: socket.socket
    notify: socket.socket
    environment: Mapping[str, str]


@contextmanager
def started_by_systemd(folder: Path, text: str) -> Iterator[Started]:
    """Write the configuration, and open the sockets that systemd would open."""
    with (
        socket.socket(socket.AF_UNIX) as http_socket,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
    ):
        for one, name in ((http_socket, "http.sock"), (notify, "notify")):
            (folder / name).unlink(missing_ok=True)
            one.bind(str(folder / name))
        http_socket.listen(128)
        notify.settimeout(START_TIMEOUT)
        variables = {
            "NOTIFY_SOCKET": str(folder / "notify"),
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": "http",
            "HTTP": str(http_socket.fileno()),
        }
        yield Started(http_socket, notify, configure(folder, text) | variables)


@contextmanager
def observed(process: "subprocess.Popen[str]", address: str, started: Started) -> Iterator[Agent]:
    """Execute what waits, and measure until it owns its name and is ready."""
    try:
        with BusMonitor(address, [OWNERS]) as monitor:
            began = execute(process)
            before = cpu([process.pid])  # of the shell
            ready = until_ready(started.notify) - began
            used = cpu([process.pid]) - before
            owned = wait_until(lambda: owning(monitor.signals()), "the name is owned") - began
        yield Agent(process.pid, Path(started.http.getsockname()), owned, ready, used)
    finally:
        process.terminate()
        process.wait(timeout=60)


def execute(process: "subprocess.Popen[str]") -> float:
    """Start a program that waits in a shell; return the time."""
    assert process.stdin is not None
    time.sleep(0.2)  # the shell has entered the namespaces
    began = time.perf_counter()
    process.stdin.write("\n")
    process.stdin.flush()
    return began


def until_ready(notify: socket.socket) -> float:
    """Return when READY=1 came."""
    while b"READY=1" not in notify.recv(65536).splitlines():
        pass
    return time.perf_counter()


def owning(signals: Iterator[Stamped]) -> float:
    """Return when the agent's name got its owner; 0 if it has none yet."""
    found = [one.at for one in signals if one.body[0] == NAME and one.body[2]]
    return found[0] if found else 0


def agent_of(spawned: int) -> int:
    """Return the PID of the last child process of a program that starts another."""
    while children := Path(f"/proc/{spawned}/task/{spawned}/children").read_text().split():
        spawned = int(children[0])
    return spawned


def wait_until_calm(pid: int) -> None:
    """Wait until a process does little: containers are inspected after they are listed.

    Two seconds in a row count: in one, a busy machine may not have let it run.
    """
    calm = 0
    while calm < 2:
        cost = Cost(pid)
        time.sleep(1)
        calm = calm + 1 if cost.cpu() < CALM else 0


def bus_and_manager(world: World) -> list[int]:
    """Return the PIDs of a world's systemd and its bus."""
    programs = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # processes come and go
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == world.pid:
                programs[(path / "comm").read_text().strip()] = int(path.name)
    return [programs["systemd"], *world.bus_pids()]


def services(world: World, numbers: Sequence[int]) -> list[str]:
    """Write a service for each number; return their names."""
    names = [f"bench{number}.service" for number in numbers]
    for name in names:
        world.unit(name, "[Service]\nExecStart=/bin/sleep 100000\n")
    return names
