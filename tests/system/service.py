"""koi-runtime.service in a booted machine, as an administrator handles it."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from koi_agent.core.message_ids import MessageId
from tests.machine import Machine
from tests.machine.images import USER
from tests.namespaces import wait_until

UNIT: Final = "koi-runtime.service"
SOCKET_UNIT: Final = "koi-runtime.socket"
SOCKET: Final = "/run/koi-runtime/http.sock"
NAME: Final = "org.sylin.koi.Runtime1"
ROOT: Final = "/org/sylin/koi/Runtime1"
MANAGER: Final = f"{NAME}.Manager"
UNITS: Final = "/run/systemd/system"
GATES: Final = tuple(
    f"koi-runtime-gate@{name}.path" for name in ("docker", "podman", "incus", "lxd")
)
DROP_INS: Final = f"{UNITS}/{UNIT}.d"
CONFIGURATION: Final = "/etc/koi-runtime"
RULES: Final = "/etc/polkit-1/rules.d/10-koi-test.rules"
WORKER: Final = "koi-test-worker.service"
"""A service for the agent to see."""
WORKER_UNIT: Final = "[Service]\nExecStart=sleep infinity\nRestart=always\nRestartSec=50ms\n"


class Service:
    """The service, what it says, and what is around it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def reset(self) -> None:
        """Make all as it is after a first ``systemctl enable --now``, but close the gates."""
        self.forget()
        self.machine.write(f"{UNITS}/{WORKER}", WORKER_UNIT)
        self.machine.systemctl("daemon-reload")
        self.machine.systemctl("reset-failed")
        self.machine.systemctl("enable", UNIT)
        self.machine.systemctl("mask", "--now", *GATES)
        self.since = now()
        self.machine.systemctl("restart", UNIT)
        # The journal gets the last record of a start after systemd knows that it is ready.
        wait_until(lambda: self.records(f"MESSAGE_ID={MessageId.READY}"), "the start is logged")
        self.since = now()

    def forget(self) -> None:
        """Undo what a test did to the machine's files."""
        self.machine.systemctl("stop", WORKER, check=False)
        for path in (DROP_INS, CONFIGURATION, RULES):
            self.machine.remove(path)
        # The many starts of a test must not make the next one too many, of whatever follows.
        self.machine.systemctl("reset-failed", UNIT, check=False)

    # The unit

    def show(self, name: str) -> str:
        return self.machine.show(UNIT, name)

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    @property
    def invocation(self) -> str:
        """The identifier of the present run."""
        return self.show("InvocationID")

    @property
    def status(self) -> str:
        return self.show("StatusText")

    def systemctl(self, verb: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.machine.systemctl(verb, UNIT, check=check)

    def drop_in(self, text: str) -> None:
        """Lay a drop-in over the unit; it is in force after a restart."""
        self.machine.write(f"{DROP_INS}/test.conf", text)
        self.machine.systemctl("daemon-reload")

    def configure(self, text: str) -> str:
        """Write a drop-in of the configuration; returns its path."""
        path = f"{CONFIGURATION}/koi-runtime.conf.d/10-test.conf"
        self.machine.write(path, text)
        return path

    @contextmanager
    def worker(self) -> Iterator[str]:
        """Run a service meanwhile; yield its name."""
        self.machine.systemctl("start", WORKER)
        yield WORKER
        self.machine.systemctl("stop", WORKER)

    # What it answers

    def listed(self, user: str = "root") -> set[str]:
        """Return the ids that the command lists."""
        shown = self.machine.run("koi-runtime", "--system", "list", "--json=short", user=user)
        return {row["id"] for row in json.loads(shown.stdout)}

    def await_listed(self, *ids: str) -> None:
        wait_until(lambda: self.listed() == set(ids), f"only these are listed: {ids}")

    def call(
        self, member: str, *arguments: str, user: str = "root"
    ) -> subprocess.CompletedProcess[str]:
        """Call the Manager by busctl, whether it likes it or not."""
        target = (NAME, ROOT, MANAGER)
        return self.machine.run(
            "busctl", "--system", "call", *target, member, *arguments, user=user, check=False
        )

    def resync(self, user: str = "root") -> subprocess.CompletedProcess[str]:
        return self.call("Resync", "sa{sv}", "", "0", user=user)

    def get(self, page: str, user: str = "root") -> Any:
        """Request a path on the socket."""
        return json.loads(fetch(self.machine, SOCKET, page, user))

    def metrics(self) -> str:
        """Read the agent's own counts."""
        return fetch(self.machine, SOCKET, "/metrics")

    # What it writes

    def journal(self, *arguments: str) -> str:
        """Read what the unit wrote, and systemd of it, since the test began."""
        self.machine.run("journalctl", "--sync")
        ours = (f"--unit={UNIT}", f"--since={self.since}")
        return self.machine.run("journalctl", "--quiet", *ours, *arguments).stdout

    def records(self, *matches: str) -> list[dict[str, Any]]:
        """Read records with all their fields."""
        lines = self.journal("--output=json", "--all", *matches).splitlines()
        return [json.loads(line) for line in lines]


def now() -> str:
    """Return the time in journalctl's format; a machine has the host's clock."""
    return f"@{time.time():.6f}"


def fetch(machine: Machine, socket: str, page: str, user: str = USER) -> str:
    """Request a path on a socket."""
    address = f"http://localhost{page}"
    return machine.run("curl", "-sSf", "--unix-socket", socket, address, user=user).stdout
