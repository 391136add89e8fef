"""A private Docker: a real dockerd with a network of its own, in namespaces of its own.

It starts in half a second. Several run side by side, and all in one ends with it, also when the
starter is killed. It needs root. Images and containers are in memory.
"""

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Final, Self

from tests import namespaces
from tests.dockerd import image
from tests.dockerd.engine import Engine
from tests.namespaces import HarnessFailed, Namespaces, kept, wait_until

SCRIPT: Final = Path(__file__).with_name("dockerd.sh")
PROGRAMS: Final = (
    *("dockerd", "docker", "containerd", "runc", "iptables", "busybox"),
    *("unshare", "nsenter", "ip"),
)
DAEMONS: Final = ("dockerd", "containerd")
START_TIMEOUT: Final = 90
"""Seconds. A daemon that finds containers running stops them before it answers, and waits 10 s for
those that ignore SIGTERM."""


def missing() -> str:
    """Return what this host lacks for a daemon; "" if nothing."""
    return namespaces.missing(PROGRAMS)


class Dockerd:
    """One private daemon; use it as a context manager."""

    pid: int
    """PID 1 of the daemon's namespaces, by its PID on the host."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Use a folder with a short path, and options of dockerd such as ``--live-restore``."""
        self._folder = folder
        self.socket: Final = folder / "docker.sock"
        """Where the daemon listens: the same path inside and outside."""
        self.log: Final = folder / "dockerd.log"
        self.engine: Final = Engine(self.socket)
        self._options = options

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            host = f"--host=unix://{self.socket}"
            self._keeper = stack.enter_context(kept(SCRIPT, self.log, host, *self._options))
            self.pid = int(self._keeper.read_line().split()[0])
            self._inside = Namespaces(leader=self.pid, group="visitors", folder=Path.cwd())
            self.start()
            image.load(self.engine)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # The daemon's life

    def start(self) -> None:
        """Start the first daemon or the next one, and wait until it answers."""
        self._keeper.write_line("start")
        try:
            wait_until(lambda: self.daemons("dockerd"), "dockerd runs")
            wait_until(self._answers, "dockerd answers", timeout=START_TIMEOUT)
        except HarnessFailed as failed:
            raise HarnessFailed(f"{failed}: {self.log.read_text()[-2000:]}") from None

    def kill(self) -> None:
        """Kill the daemon, and its containerd with it; the containers go on."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the daemon, and its containers unless it has ``--live-restore``."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        for pid in self.daemons("dockerd"):
            os.kill(pid, number)
        # The next daemon would take the old containerd for its own.
        wait_until(lambda: not self.daemons(), "dockerd ends", timeout=START_TIMEOUT)

    def _answers(self) -> bool:
        if not self.daemons("dockerd"):
            raise HarnessFailed("dockerd ended")
        with contextlib.suppress(OSError):
            return bool(self.engine.call("GET", "/_ping") == "OK")
        return False

    def daemons(self, *names: str) -> list[int]:
        """Return the PIDs on the host of the daemon and its containerd, or of one of them."""
        found = namespaces.children(self.pid)
        return [pid for pid in found if namespaces.name(pid) in (names or DAEMONS)]

    # What it runs

    def run(
        self, *args: str, check: bool = True, timeout: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker command on this daemon, from outside of the namespaces."""
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
            raise HarnessFailed(f"docker {' '.join(args)}: exit {done.returncode}: {done.stderr}")
        return done

    def running(self) -> dict[str, tuple[str, str]]:
        """Return name and state of each running container by id, as ``docker ps`` shows them."""
        listed = self.engine.call("GET", "/containers/json")
        return {one["Id"]: (one["Names"][0].removeprefix("/"), one["State"]) for one in listed}

    def spawn(self, *argv: str | Path, **popen: Any) -> subprocess.Popen[str]:
        """Start a program in the daemon's namespaces: published ports answer there."""
        return self._inside.spawn(*argv, **popen)
