"""``systemctl --user enable --now koi-runtime``: the same for a plain user."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.machine import Machine
from tests.machine.images import USER
from tests.namespaces import wait_until
from tests.system.service import MANAGER, NAME, ROOT, fetch, now

HOME = f"/home/{USER}"
WORKER = f"{HOME}/.config/systemd/user/worker.service"
CONFIGURATION = f"{HOME}/.config/koi-runtime/koi-runtime.conf.d/10-test.conf"


class Session:
    """A plain user with a manager and a bus of their own."""

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


@pytest.fixture
def session(machine: Machine) -> Iterator[Session]:
    """A user's session in which koi-runtime is enabled and running."""
    session = Session(machine)
    # Each test starts them again: reset their start limits.
    machine.systemctl("reset-failed", f"user@{session.uid}.service", check=False)
    machine.systemctl("reset-failed", f"user-runtime-dir@{session.uid}.service", check=False)
    machine.systemctl("start", f"user@{session.uid}.service")
    session.write(WORKER, "[Service]\nExecStart=sleep infinity\n")
    session.systemctl("daemon-reload")
    session.systemctl("enable", "--now", "koi-runtime")
    yield session
    machine.systemctl("stop", f"user@{session.uid}.service")
    machine.run("rm", "-rf", f"{HOME}/.config")


def test_it_is_ready_and_follows_the_units_of_the_user(session: Session) -> None:
    assert session.show("ActiveState") == "active"
    assert "systemd" in session.show("StatusText")
    session.systemctl("start", "worker")
    wait_until(lambda: "worker.service" in session.listed(), "the user's unit is listed")
    called = session.run("busctl", "--user", "call", NAME, ROOT, MANAGER, "ListInstances")
    assert "worker.service" in called.stdout


def test_its_socket_is_the_users_own_and_starts_it(session: Session) -> None:
    socket = session.machine.path(session.socket).stat()
    assert (socket.st_uid, socket.st_mode & 0o777) == (session.uid, 0o600)
    session.systemctl("stop", "koi-runtime")
    status = json.loads(fetch(session.machine, session.socket, "/v1/runtime/status"))
    assert status["active"]
    assert session.show("ActiveState") == "active"


def test_the_session_bus_starts_it(session: Session) -> None:
    session.systemctl("stop", "koi-runtime.service", "koi-runtime.socket")
    called = session.run("busctl", "--user", "call", NAME, ROOT, MANAGER, "ListInstances")
    assert "koi-runtime.service" in called.stdout
    assert session.show("ActiveState") == "active"


def test_it_reloads_the_users_own_configuration(session: Session) -> None:
    session.write(CONFIGURATION, "[Systemd]\nUnits=dbus.service\n")
    session.systemctl("reload", "koi-runtime")
    assert session.listed() <= {"dbus.service"}
    session.write(CONFIGURATION, "[Systemd]\nTrackExited=perhaps\n")
    assert session.systemctl("reload", "koi-runtime", check=False).returncode != 0
    assert session.show("ActiveState") == "active"


def test_the_user_may_change_it(session: Session) -> None:
    session.systemctl("service-log-level", "koi-runtime.service", "debug")
    session.run("koi-runtime", "--user", "resync")
    level = session.systemctl("service-log-level", "koi-runtime.service")
    assert level.stdout.strip() == "debug"


def test_nothing_of_it_is_left_below_the_configuration(session: Session) -> None:
    folders = session.run("ls", f"{HOME}/.config").stdout.split()
    assert folders == ["systemd"]


def test_a_quiet_run_warns_of_nothing(session: Session) -> None:
    began = now()
    session.systemctl("restart", "koi-runtime")
    session.systemctl("stop", "koi-runtime")
    session.machine.run("journalctl", "--sync")
    ours = ("_SYSTEMD_USER_UNIT=koi-runtime.service", f"--since={began}")
    assert session.machine.run("journalctl", "--quiet", *ours).stdout
    assert not session.machine.run("journalctl", "--quiet", "--priority=warning", *ours).stdout
