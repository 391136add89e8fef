"""LXD at the socket of its snap, started by units with the names that the snap has."""

import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.engines import await_reason, await_state, backend, instances
from tests.system.incus import IMAGE, IncusServer
from tests.system.service import UNITS, Service

SOCKET: Final = "/var/snap/lxd/common/lxd/unix.socket"
DAEMON: Final = "snap.lxd.daemon.service"
SOCKET_UNIT: Final = "snap.lxd.daemon.unix.socket"
SOCKET_TEXT: Final = f"""\
[Socket]
FileDescriptorName=unix
ListenStream={SOCKET}
DirectoryMode=0711
SocketGroup=lxd
SocketMode=0660
Service={DAEMON}
"""
ADDITION: Final = f"\n[Service]\nEnvironment=LXD_SOCKET={SOCKET}\n"
"""An addition to the service of Debian, so that it listens, and is asked, at the other path."""
GATE: Final = "koi-runtime-gate@lxd.path"
ENVIRONMENT: Final = {"LXD_SOCKET": SOCKET}
"""How its command finds the socket."""


@pytest.fixture
def snap(prepared_incus: IncusServer, service: Service) -> Iterator[Machine]:
    """A machine in which LXD listens only where its snap does."""
    if prepared_incus.kind.name != "lxd":
        pytest.skip("this machine has no LXD")
    machine = prepared_incus.machine
    machine.systemctl("stop", *prepared_incus.kind.units)
    machine.remove(prepared_incus.kind.socket)
    daemon = machine.run("systemctl", "cat", "lxd.service").stdout
    daemon = daemon.replace("lxd.socket", SOCKET_UNIT) + ADDITION
    machine.write(f"{UNITS}/{DAEMON}", daemon)
    machine.write(f"{UNITS}/{SOCKET_UNIT}", SOCKET_TEXT)
    machine.systemctl("daemon-reload")
    machine.systemctl("unmask", GATE)
    service.systemctl("restart")
    machine.systemctl("start", SOCKET_UNIT, DAEMON)
    yield machine
    lxc(machine, "delete", "--force", "web")
    machine.systemctl("mask", "--now", GATE)
    machine.systemctl("stop", SOCKET_UNIT, DAEMON)
    for path in (f"{UNITS}/{DAEMON}", f"{UNITS}/{SOCKET_UNIT}", "/var/snap"):
        machine.remove(path)
    machine.systemctl("daemon-reload")


def lxc(machine: Machine, *arguments: str) -> None:
    machine.run("lxc", *arguments, env=ENVIRONMENT, timeout=120)


def launch(machine: Machine, name: str) -> None:
    """Create an instance and start it; a server refuses until its networks are up."""
    lxc(machine, "init", IMAGE, name)
    start = ("lxc", "start", name)
    errors = [""]

    def is_started() -> bool:
        done = machine.run(*start, check=False, env=ENVIRONMENT, timeout=120)
        errors.append(done.stderr)
        return done.returncode == 0 or "already running" in done.stderr

    wait_until(is_started, lambda: f"{name} is started: {errors[-1]}", timeout=120)


def await_web(service: Service) -> None:
    def is_known() -> bool:
        return bool(instances(service, "lxd").get("default/web", {}).get("ips"))

    wait_until(is_known, lambda: f"web is known: {instances(service, 'lxd')}", timeout=60)


def doctor(machine: Machine) -> str:
    return machine.run("koi-runtime", "--system", "doctor", check=False).stdout


def test_the_gate_serves_the_socket_of_the_snap_and_does_not_start_what_was_stopped(
    snap: Machine, service: Service
) -> None:
    assert not snap.path("/var/lib/lxd/unix.socket").exists()
    await_state(service, "lxd", "synced")
    assert backend(service, "lxd")["endpoint"] == "/run/koi-runtime/gate/lxd.sock"
    launch(snap, "web")
    await_web(service)
    assert "lxd: gate listening" in doctor(snap)
    snap.systemctl("stop", DAEMON)
    await_state(service, "lxd", "stale")
    time.sleep(3)  # the agent tries to connect several times
    assert snap.show(DAEMON, "ActiveState") == "inactive"
    await_reason(service, "lxd", f"{DAEMON} is stopped")
    snap.systemctl("start", DAEMON)
    await_state(service, "lxd", "synced")
    await_web(service)
    assert backend(service, "lxd")["drift"] == 0


def test_a_setting_names_the_socket_of_the_snap(snap: Machine, service: Service) -> None:
    service.configure(f"[LXD]\nSocket={SOCKET}\n")
    service.systemctl("restart")
    await_state(service, "lxd", "failed", "absent")
    assert SOCKET in backend(service, "lxd")["last_error"], "the agent has no access"
    service.drop_in("[Service]\nSupplementaryGroups=lxd\n")
    service.systemctl("restart")
    await_state(service, "lxd", "synced")
    launch(snap, "web")
    await_web(service)
    assert backend(service, "lxd")["endpoint"] == SOCKET
    assert f"lxd: followed at {SOCKET}, without a gate" in doctor(snap)
