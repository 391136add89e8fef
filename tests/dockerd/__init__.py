"""A private Docker: a real dockerd with a network of its own, in namespaces of its own.

A daemon starts in half a second, and several can run at once. Everything in it ends with it, also
when its starter is killed. It needs root. Its images and containers are in memory.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.dockerd import image
from tests.dockerd.engine import Engine
from tests.world import namespaces

SCRIPT: Final = Path(__file__).with_name("dockerd.sh")
PROGRAMS: Final = (
    *("dockerd", "docker", "containerd", "runc", "iptables", "busybox"),
    *("unshare", "nsenter", "ip"),
)
DAEMONS: Final = ("dockerd", "containerd")
START_TIMEOUT: Final = 40
"""Seconds. A daemon that finds running containers stops them before it answers, and waits 10 s
for each that ignores its stop signal."""


class DockerdFailed(Exception):
    """The daemon failed to start, stop or run a command."""


def missing() -> str:
    """Return what this machine lacks for a daemon, or ""."""
    if os.geteuid() != 0:
        return "not root (make test asks for it)"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


class Dockerd:
    """One private daemon; use it as a context manager."""

    pid: int
    """PID 1 of the daemon's namespaces, as the host numbers it."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Set a folder with a short path, and options of dockerd such as ``--live-restore``."""
        self._folder = folder
        self.socket: Final = folder / "docker.sock"
        """Where the daemon answers: the same path inside and outside."""
        self.log: Final = folder / "dockerd.log"
        self.engine: Final = Engine(self.socket)
        self._options = options

    def __enter__(self) -> Self:
        self._keeper = subprocess.Popen(
            [SCRIPT, "start", self.log, f"--host=unix://{self.socket}", *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the starter, which then ends the daemon
        )
        try:
            self._settle()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _settle(self) -> None:
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        if not line:
            raise DockerdFailed(f"{SCRIPT.name} ended without a place for a daemon")
        self.pid = int(line)
        self.start()
        image.load(self.engine)

    def close(self) -> None:
        """End the daemon, its containers, and all else in its namespaces."""
        with self._keeper:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait(timeout=20)

    # Start and stop

    def start(self) -> None:
        """Start the daemon, or start it again, and wait until it answers."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.write("start\n")
        self._keeper.stdin.flush()
        try:
            wait_until(lambda: self.daemons("dockerd"), "dockerd runs")
            wait_until(self._answers, "dockerd answers", timeout=START_TIMEOUT)
        except DockerdFailed as failed:
            raise DockerdFailed(f"{failed}: {self.log.read_text()[-2000:]}") from None

    def kill(self) -> None:
        """Kill the daemon and its containerd; the containers continue to run."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the daemon, and its containers unless it has ``--live-restore``."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        for pid in self.daemons("dockerd"):
            os.kill(pid, number)
        # The next daemon would use a containerd that is still there.
        wait_until(lambda: not self.daemons(), "dockerd ends", timeout=START_TIMEOUT)

    def _answers(self) -> bool:
        if not self.daemons("dockerd"):
            raise DockerdFailed("dockerd ended")
        with contextlib.suppress(OSError):
            return bool(self.engine.call("GET", "/_ping") == "OK")
        return False

    def daemons(self, *names: str) -> list[int]:
        """Return the PIDs on the host of dockerd and containerd, or of the named one."""
        return [pid for pid in children(self.pid) if command(pid) in (names or DAEMONS)]

    # Containers and programs

    def run(
        self, *args: str, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker command on this daemon, from outside."""
        done = subprocess.run(
            ["docker", *args],
            env=os.environ
            | {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(self._folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check and done.returncode:
            raise DockerdFailed(f"docker {' '.join(args)}: exit {done.returncode}: {done.stderr}")
        return done

    def running(self) -> dict[str, tuple[str, str]]:
        """Return name and state of each running container by id, as ``docker ps`` shows them."""
        listed = self.engine.call("GET", "/containers/json")
        return {one["Id"]: (one["Names"][0].removeprefix("/"), one["State"]) for one in listed}

    def spawn(self, *argv: str | Path, **popen: Any) -> subprocess.Popen[str]:
        """Start a program in the daemon's namespaces, where it reaches published ports."""
        popen.setdefault("text", True)
        return namespaces.spawn(self.pid, map(str, argv), **popen)


def children(pid: int) -> list[int]:
    """Return the PIDs of a process's children; PID 1 has the orphans too."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> str:
    """Return the name of a process, or "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def wait_until(condition: Callable[[], object], description: str, *, timeout: float = 10) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise DockerdFailed(f"waited {timeout:g} s for: {description}")
        time.sleep(0.01)
