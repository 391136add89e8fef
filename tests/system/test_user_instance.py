"""``systemctl --user enable --now koi-runtime``: the same for a plain user."""

import json
from collections.abc import Iterator

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.service import MANAGER, NAME, ROOT, fetch, now
from tests.system.user_session import HOME, Session, user_session

WORKER = f"{HOME}/.config/systemd/user/worker.service"
CONFIGURATION = f"{HOME}/.config/koi-runtime/koi-runtime.conf.d/10-test.conf"


@pytest.fixture
def session(machine: Machine) -> Iterator[Session]:
    """A user's session in which koi-runtime is enabled and running."""
    with user_session(machine) as session:
        session.write(WORKER, "[Service]\nExecStart=sleep infinity\n")
        session.systemctl("daemon-reload")
        session.systemctl("enable", "--now", "koi-runtime")
        yield session


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
