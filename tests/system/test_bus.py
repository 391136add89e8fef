"""The service on the system bus, as busctl and unprivileged users see it."""

import re
import subprocess
from xml.etree import ElementTree as ET

import pytest

from tests.machine import Machine
from tests.machine.images import USER
from tests.namespaces import wait_until
from tests.system.service import MANAGER, NAME, ROOT, RULES, Service

RULE = """\
polkit.addRule(function(action, subject) {
    if (action.id == "org.sylin.koi.Runtime1.resync" && subject.user == "%s")
        return polkit.Result.YES;
});
"""
REFUSAL = re.compile(r"Access denied|not authorized|only root may")
LOG_CONTROL = ("/org/freedesktop/LogControl1", "org.freedesktop.LogControl1")
OBJECTS = {
    "Manager": ROOT,
    "Backend": f"{ROOT}/backend/systemd",
    "Instance": f"{ROOT}/instance/systemd_3adbus_2eservice",
}


def test_busctl_draws_the_tree(service: Service) -> None:
    drawn = service.machine.run(
        "busctl", "--system", "tree", "--list", NAME, user=USER, check=False
    )
    paths = drawn.stdout.split()
    assert {"/", "/org/freedesktop/LogControl1", *OBJECTS.values()} <= set(paths)
    assert len(set(paths)) == len(paths)


def test_busctl_shows_members_with_their_flags(service: Service) -> None:
    command = ("busctl", "--system", "introspect", NAME, ROOT)
    lines = service.machine.run(*command, user=USER).stdout.splitlines()
    rows = {row[0]: row[1:] for line in lines if (row := line.split())}
    assert rows[MANAGER] == ["interface", "-", "-", "-"]
    assert rows[".ListInstances"] == ["method", "-", "a(ssssso)", "-"]
    assert rows[".Version"][0:2] == ["property", "s"]
    assert rows[".Version"][-1] == "const"
    assert rows[".InstanceCount"][-1] == "emits-change"
    assert rows[".InstanceStarted"] == ["signal", "ssoa{sv}", "-", "-"]


def test_unknown_paths_are_no_objects(service: Service) -> None:
    for path in (f"{ROOT}/nonexistent", f"{ROOT}/instance/nonexistent"):
        command = ("busctl", "--system", "introspect", NAME, path)
        assert service.machine.run(*command, check=False).returncode != 0


@pytest.mark.parametrize("interface", OBJECTS)
def test_the_installed_interface_files_say_what_introspect_says(
    service: Service, interface: str
) -> None:
    command = ("busctl", "--system", "introspect", "--xml-interface", NAME, OBJECTS[interface])
    name = f"{NAME}.{interface}"
    live = described(service.machine.run(*command).stdout, name)
    file = service.machine.path(f"/usr/share/dbus-1/interfaces/{name}.xml")
    assert described(file.read_text(), name) == live


def test_an_unprivileged_user_may_read(service: Service) -> None:
    # Services of the machine may come and go between the two lists.
    wait_until(lambda: service.listed(user=USER) == service.listed(), "the same is listed")
    shown = service.call("GetInstanceByUnit", "s", "dbus.service", user=USER)
    assert OBJECTS["Instance"] in shown.stdout


@pytest.mark.parametrize("polkit", [True, False], ids=["polkit", "no polkit"])
def test_an_unprivileged_user_may_change_nothing(service: Service, *, polkit: bool) -> None:
    allowing(service.machine, polkit=polkit)
    try:
        refusals = [service.resync(user=USER), service.call("Reload", user=USER)]
        refusals.append(set_level(service.machine, "debug", user=USER))
        assert [refused.returncode for refused in refusals] == [1, 1, 1]
        for refused in refusals:
            assert REFUSAL.search(refused.stderr), refused.stderr
        assert service.resync().returncode == 0
    finally:
        allowing(service.machine, polkit=True)


def test_whom_polkit_allows_may_do_that_and_no_more(service: Service) -> None:
    service.machine.write(RULES, RULE % USER)
    service.machine.systemctl("restart", "polkit.service")
    wait_until(lambda: service.resync(user=USER).returncode == 0, "polkit allows it")
    assert service.call("Reload", user=USER).returncode == 1
    service.machine.remove(RULES)
    service.machine.systemctl("restart", "polkit.service")


def test_the_log_level_is_set_by_systemctl(service: Service) -> None:
    machine = service.machine
    ask = ("service-log-level", "koi-runtime.service")
    assert machine.systemctl(*ask).stdout.strip() == "info"
    debugging = "--priority=debug..debug"
    with service.worker() as worker:
        machine.systemctl("kill", worker)
        wait_until(lambda: machine.show(worker, "NRestarts") == "1", "it runs again")
        assert not service.journal(debugging)

        machine.systemctl(*ask, "debug")

        assert machine.systemctl(*ask).stdout.strip() == "debug"
        machine.systemctl("kill", worker)
        wait_until(lambda: f"updated systemd:{worker}" in service.journal(debugging), "a record")


def test_other_users_may_not_own_the_name(machine: Machine) -> None:
    # The bus's default policy denies the name; ours allows it to the agent's user.
    asked = machine.run(
        *("busctl", "--system", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus"),
        *("org.freedesktop.DBus", "RequestName", "su", NAME, "0"),
        user=USER,
        check=False,
    )
    assert asked.returncode != 0
    assert "Access denied" in asked.stderr


@pytest.mark.parametrize(("user", "allowed"), [("_koi-runtime", True), (USER, False)])
def test_only_the_agent_may_ask_what_is_unread(
    machine: Machine, user: str, *, allowed: bool
) -> None:
    asked = machine.run(
        *("busctl", "--system", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus"),
        *("org.freedesktop.DBus.Debug.Stats", "GetConnectionStats", "s", NAME),
        user=user,
        check=False,
    )
    assert (asked.returncode == 0) is allowed, asked.stderr
    assert ("OutgoingBytes" in asked.stdout) is allowed


def described(text: str, name: str) -> str:
    """Return one interface of introspection data, without its layout."""
    shown = ET.fromstring(text).find(f"interface[@name='{name}']")
    assert shown is not None
    return ET.canonicalize(ET.tostring(shown, "unicode"), strip_text=True)


def set_level(machine: Machine, level: str, user: str) -> subprocess.CompletedProcess[str]:
    command = ("busctl", "--system", "set-property", NAME, *LOG_CONTROL, "LogLevel", "s", level)
    return machine.run(*command, user=user, check=False)


def allowing(machine: Machine, *, polkit: bool) -> None:
    """Run with polkit, or without it."""
    machine.systemctl("unmask" if polkit else "mask", "--runtime", "polkit.service")
    machine.systemctl("start" if polkit else "stop", "polkit.service")
