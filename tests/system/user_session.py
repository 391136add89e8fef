"""A plain user with a manager and a bus of their own, in a booted machine."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.machine import Machine
from tests.machine.images import USER

HOME: Final = f"/home/{USER}"


class Session:
    """The user, and the agent of the user."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.uid = int(machine.run("id", "-u", USER).stdout)
        self.runtime = f"/run/user/{self.uid}"
        self.socket = f"{self.runtime}/koi-runtime/http.sock"

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = {"XDG_RUNTIME_DIR": self.runtime}
        return self.machine.run(*argv, user=USER, env=env, check=check)

    def systemctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", "--user", "--no-pager", *args, check=check)

    def show(self, name: str) -> str:
        return self.systemctl("show", "--value", f"--property={name}", "koi-runtime").stdout.strip()

    def listed(self) -> set[str]:
        shown = self.run("koi-runtime", "--user", "list", "--json=short")
        return {row["id"] for row in json.loads(shown.stdout)}

    def write(self, path: str, text: str) -> None:
        self.run("mkdir", "-p", path.rpartition("/")[0])
        self.machine.write(path, text)


@contextmanager
def user_session(machine: Machine) -> Iterator[Session]:
    """Start the manager of the user, and end it with all that it runs."""
    session = Session(machine)
    # Each test starts them again: reset their start limits.
    machine.systemctl("reset-failed", f"user@{session.uid}.service", check=False)
    machine.systemctl("reset-failed", f"user-runtime-dir@{session.uid}.service", check=False)
    machine.systemctl("start", f"user@{session.uid}.service")
    try:
        yield session
    finally:
        machine.systemctl("stop", f"user@{session.uid}.service")
        machine.run("rm", "-rf", f"{HOME}/.config")
