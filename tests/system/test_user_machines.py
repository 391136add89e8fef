"""The machines of a plain user, registered with the user's own systemd-machined (systemd 259)."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.service import fetch, now
from tests.system.user_session import HOME, Session, user_session

MACHINED: Final = "org.freedesktop.machine1"
MANAGER: Final = (MACHINED, "/org/freedesktop/machine1", f"{MACHINED}.Manager")
UNITS: Final = f"{HOME}/.config/systemd/user"
PRIVATE: Final = """\
ip link set lo up
ip link add host0 type veth peer name outer
ip addr add 10.77.1.2/24 dev host0
ip link set host0 up
ip link set outer up
python3 -m http.server 8099 --bind 10.77.1.2 >/dev/null 2>&1 &
exec sleep 1000
"""
"""The program of a machine with a network of its own, in a user namespace."""
SERVICE: Final = """\
[Service]
ExecStart={command}
Slice=machine.slice
[X-Koi]
Enable=yes
Port=8099
"""


@pytest.fixture
def session(machine: Machine) -> Iterator[Session]:
    with user_session(machine) as session:
        session.systemctl("start", "koi-runtime")
        yield session


def has_machined(session: Session) -> bool:
    """Return True if the user's bus can start a systemd-machined."""
    names = session.run("busctl", "--user", "--no-pager", "--activatable", "list").stdout
    return MACHINED in names.split()


@pytest.fixture
def machines(session: Session) -> Session:
    """The session on a system that has a systemd-machined for users."""
    if not has_machined(session):
        pytest.skip("this systemd has no systemd-machined for users")
    return session


def register(session: Session, name: str, command: str, kind: str = "container") -> int:
    """Run a command in a unit of its own, register it as a machine, and return its PID.

    Each test has its own names: a systemd-machined that ended with the user's manager leaves files
    of its machines. The next one ends what has the name of such a machine.
    """
    unit = f"{name}.service"
    session.write(f"{UNITS}/{unit}", SERVICE.format(command=command))
    session.systemctl("daemon-reload")
    session.systemctl("start", unit)
    pid = session.systemctl("show", "--value", "--property=MainPID", unit).stdout.strip()
    call = ("busctl", "--user", "call", *MANAGER, "RegisterMachine", "sayssus")
    session.run(*call, name, "0", "koi-test", kind, pid, "")
    return int(pid)


def backend(session: Session) -> dict[str, Any]:
    rows = json.loads(fetch(session.machine, session.socket, "/v1/runtime/backends"))
    return next(row for row in rows if row["name"] == "machined")


def known(session: Session) -> dict[str, Any]:
    rows = json.loads(fetch(session.machine, session.socket, "/v1/runtime/instances"))
    return {row["id"]: row for row in rows if row["backend"] == "machined"}


def running(session: Session) -> set[str]:
    listed = session.run("machinectl", "--user", "list", "--no-legend", "--no-pager").stdout
    return {line.split()[0] for line in listed.splitlines() if line.split()}


def test_a_machine_of_the_user_is_found_with_its_unit_until_it_ends(machines: Session) -> None:
    pid = register(machines, "web", "/usr/bin/sleep 1000")
    wait_until(lambda: known(machines).keys() == {"web"}, lambda: f"web: {known(machines)}")
    web = known(machines)["web"]
    assert (web["unit"], web["main_pid"], web["state"]) == ("web.service", pid, "running")
    assert web["metadata"]["enable"] is True
    assert web["control_group"].endswith("/machine.slice/web.service")
    assert "web.service" not in machines.listed(), "the machine and its unit are one instance"
    assert running(machines) == {"web"}
    machines.run("machinectl", "--user", "terminate", "web")
    wait_until(lambda: not known(machines), lambda: f"it is gone: {known(machines)}")
    assert backend(machines)["drift"] == 0


def test_the_addresses_and_ports_of_a_private_network_are_known(machines: Session) -> None:
    machines.write(f"{HOME}/private.sh", PRIVATE)
    register(machines, "own", f"/usr/bin/unshare --map-root-user --net sh -e {HOME}/private.sh")
    addresses = ("busctl", "--user", "call", *MANAGER, "GetMachineAddresses", "s", "own")
    wait_until(
        lambda: known(machines).get("own", {}).get("ips") == ["10.77.1.2"],
        lambda: f"its address: {known(machines)}; {machines.run(*addresses, check=False)}",
    )
    wait_until(
        lambda: [one["container_port"] for one in known(machines)["own"]["ports"]] == [8099],
        lambda: f"its port: {known(machines)}",
    )
    assert not known(machines)["own"]["problems"]
    doctor = machines.run("koi-runtime", "--user", "doctor", check=False).stdout
    assert "the agent may read the addresses of all machines" in doctor


def test_the_systems_agent_does_not_find_it(machines: Session, service: Any) -> None:
    register(machines, "other", "/usr/bin/sleep 1000")
    wait_until(lambda: "other" in known(machines), "the user's agent finds it")
    assert "other" not in service.listed()


def test_without_a_machine_it_is_quiet(session: Session) -> None:
    began = now()
    session.systemctl("restart", "koi-runtime")
    wait_until(lambda: backend(session)["state"] == "absent", lambda: f"{backend(session)}")
    session.machine.run("journalctl", "--sync")
    ours = ("_SYSTEMD_USER_UNIT=koi-runtime.service", f"--since={began}", "--priority=notice")
    assert not session.machine.run("journalctl", "--quiet", *ours).stdout
    assert "machined" in session.run("koi-runtime", "--user", "doctor", check=False).stdout
