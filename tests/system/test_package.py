"""The life of the package: installed, upgraded, removed, installed again, purged."""

import json
from collections.abc import Iterator

import pytest

from tests.machine import Machine, booted
from tests.machine.images import USER
from tests.namespaces import wait_until
from tests.system.package import PLACE, apt, install
from tests.system.service import (
    CONFIGURATION,
    GATES,
    NAME,
    SOCKET,
    SOCKET_UNIT,
    UNIT,
    fetch,
    now,
)

OLD = "/srv/old.deb"
# An older version of the same package, with the same scripts: no older release exists.
REPACK = f"""
dpkg-deb -R {PLACE} /srv/old
sed -i 's/^Version: .*/Version: 0.0.1-1/' /srv/old/DEBIAN/control
dpkg-deb -b /srv/old {OLD}
rm -r /srv/old
"""
DROP_IN = f"{CONFIGURATION}/koi-runtime.conf.d/10-local.conf"
# dpkg's and apt's own memory, and the times at which timers ran. Users stay, because a uid
# must not be used again.
FIND = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /tmp -o -path /run -o -path /srv \
    -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/log -o -path /var/cache \
    -o -path /var/tmp -o -path /root -o -path /var/backups \
    -o -path /var/lib/systemd/timers \) -prune -o -print
find /run /var/log /var/cache /var/tmp -name '*koi*' || :
"""
USERS = {f"/etc/{file}-" for file in ("passwd", "group", "shadow", "gshadow")} | {"/etc/.pwd.lock"}
ASK = f"""
while [ ! -e /srv/enough ]; do
    curl -sSf --unix-socket {SOCKET} http://localhost/v1/runtime/status >/dev/null || exit 1
done
"""
DNS_SOCKET = "koi-runtime-dns.socket"
HOOK = "koi-runtime-hook.service"
HOOK_SOCKET = "koi-runtime-hook.socket"
HANDOVER = "koi-runtime-koi.service"
HANDOVER_PATH = "koi-runtime-koi.path"
BREADCRUMB = """
umask 077
printf '%s\\n' http://127.0.0.1:5641 dat:token >/run/koi.endpoint
"""
ASK_DNS = """
import os, socket, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    while not os.path.exists("/srv/enough"):
        try:
            asking.sendto(bytes(12), ("127.0.0.9", 53))
        except OSError:  # the socket was closed
            pass
        time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def fresh(suite: str) -> Iterator[Machine]:
    """A machine that never had the package, and has an older one to install."""
    if suite == "here":
        pytest.skip("this machine's package must stay")
    with booted(suite) as machine:
        yield machine


def files(machine: Machine) -> set[str]:
    found = set(machine.run("sh", "-c", FIND).stdout.splitlines())
    return {path for path in found if "__pycache__" not in path or "koi" in path} - USERS


def is_up(machine: Machine) -> None:
    for unit in (UNIT, SOCKET_UNIT, *GATES):
        assert machine.systemctl("is-active", unit, check=False).stdout.strip() == "active", unit
    for unit in (UNIT, SOCKET_UNIT):
        assert machine.systemctl("is-enabled", unit).stdout.strip() == "enabled", unit
    status = json.loads(fetch(machine, SOCKET, "/v1/runtime/status"))
    assert status["active"]


@pytest.fixture
def installed(fresh: Machine) -> Iterator[Machine]:
    """The package as apt installs it; whatever it brought is gone after its purge."""
    before = files(fresh)
    install(fresh)
    yield fresh
    apt(fresh, "purge", "koi-runtime")
    assert files(fresh) == before
    assert not fresh.systemctl("list-units", "--failed", "--plain", "--no-legend").stdout


def test_it_is_up_once_it_is_installed(installed: Machine) -> None:
    is_up(installed)


def test_an_upgrade_keeps_what_was_said_and_no_request_is_lost(installed: Machine) -> None:
    installed.run("sh", "-ec", REPACK)
    apt(installed, "install", "--allow-downgrades", OLD)
    narrow(installed)
    installed.systemctl("mask", "--now", GATES[1])
    before = installed.show(UNIT, "MainPID")
    asking = installed.spawn("sh", "-c", ASK, user=USER)
    apt(installed, "install", PLACE)
    installed.write("/srv/enough", "")
    assert asking.wait() == 0, "a request failed during the upgrade"
    installed.remove("/srv/enough")
    assert installed.show(UNIT, "MainPID") not in (before, "0")
    assert count(installed) <= 1
    assert installed.show(GATES[0], "ActiveState") == "active"
    assert installed.show(GATES[1], "ActiveState") == "inactive"
    installed.systemctl("unmask", GATES[1])


def test_a_removal_keeps_what_was_said_and_nothing_else(installed: Machine) -> None:
    narrow(installed)
    apt(installed, "remove", "koi-runtime")
    for unit in (UNIT, SOCKET_UNIT, *GATES):
        wait_until(
            lambda: installed.show(unit, "ActiveState") == "inactive",  # noqa: B023 - at once
            f"{unit} is inactive",
        )
    assert installed.run("busctl", "--system", "status", NAME, check=False).returncode != 0
    assert not installed.path("/run/koi-runtime").exists()
    assert installed.path(DROP_IN).exists()
    apt(installed, "install", PLACE)
    is_up(installed)
    assert count(installed) <= 1


def test_no_dns_request_starts_the_service_during_its_removal(installed: Machine) -> None:
    addresses = f"/etc/systemd/system/{DNS_SOCKET}.d/addresses.conf"
    installed.write(
        addresses, "[Socket]\nListenStream=\nListenDatagram=\nListenDatagram=127.0.0.9:53\n"
    )
    installed.systemctl("daemon-reload")
    installed.systemctl("enable", DNS_SOCKET)
    installed.systemctl("restart", UNIT)
    wait_until(lambda: installed.show(DNS_SOCKET, "ActiveState") == "active", "port 53 is open")
    asking = installed.spawn("python3", "-c", ASK_DNS, user=USER)
    since = now()
    apt(installed, "remove", "koi-runtime")
    installed.write("/srv/enough", "")
    assert asking.wait() == 0
    installed.remove("/srv/enough")
    installed.run("journalctl", "--sync")
    ours = (f"--since={since}", f"--unit={UNIT}", "--output=cat")
    records = installed.run("journalctl", "--quiet", *ours).stdout.splitlines()
    words = {record.split()[0] for record in records}
    assert ("Stopped" in words, "Starting" in words) == (True, False)
    for unit in (UNIT, SOCKET_UNIT, DNS_SOCKET):
        assert installed.show(unit, "ActiveState") == "inactive"
    installed.remove(f"/etc/systemd/system/{DNS_SOCKET}.d")


def test_an_enabled_hook_is_of_the_installed_version_and_gone_with_it(installed: Machine) -> None:
    installed.run("sh", "-ec", REPACK)
    apt(installed, "install", "--allow-downgrades", OLD)
    installed.systemctl("enable", "--now", HOOK_SOCKET)
    wait_until(lambda: installed.show(HOOK, "ActiveState") == "active", "the hook runs")
    before, since = (installed.show(HOOK, "MainPID"), installed.show(HOOK_SOCKET, "InvocationID"))
    apt(installed, "install", PLACE)
    assert installed.show(HOOK, "MainPID") not in (before, "0")
    assert installed.show(HOOK_SOCKET, "InvocationID") == since  # open all the time
    apt(installed, "remove", "koi-runtime")
    for unit in (HOOK, HOOK_SOCKET):
        assert installed.show(unit, "ActiveState") == "inactive"
    assert not installed.path("/run/systemd/resolve.hook/org.sylin.koi.Hook").exists()


def test_an_enabled_handover_survives_an_upgrade_and_is_gone_with_it(installed: Machine) -> None:
    installed.run("sh", "-ec", REPACK)
    apt(installed, "install", "--allow-downgrades", OLD)
    installed.run("sh", "-ec", BREADCRUMB)
    installed.systemctl("enable", "--now", HANDOVER_PATH)
    wait_until(lambda: installed.show(HANDOVER, "ActiveState") == "active", "it runs")
    before = installed.show(HANDOVER, "MainPID")
    apt(installed, "install", PLACE)
    wait_until(lambda: installed.show(HANDOVER, "MainPID") not in (before, "0"), "the new one runs")
    installed.systemctl("stop", UNIT)
    installed.systemctl("start", HANDOVER_PATH)  # without the agent
    wait_until(lambda: installed.show(HANDOVER, "ActiveState") == "active", "it runs")
    apt(installed, "remove", "koi-runtime")
    for unit in (HANDOVER, HANDOVER_PATH):
        assert installed.show(unit, "ActiveState") == "inactive"
    installed.remove("/run/koi.endpoint")


def narrow(machine: Machine) -> None:
    """Configure by a drop-in that one unit only is followed."""
    machine.write(DROP_IN, "[Systemd]\nUnits=dbus.service\n")
    machine.systemctl("reload", UNIT)
    wait_until(lambda: count(machine) <= 1, "the drop-in is in force")


def count(machine: Machine) -> int:
    """Count what a plain user is shown."""
    shown = machine.run("koi-runtime", "--system", "list", "--json=short", user=USER)
    return len(json.loads(shown.stdout))


def test_who_turned_it_off_is_not_overruled(installed: Machine) -> None:
    installed.systemctl("disable", "--now", UNIT, SOCKET_UNIT)
    apt(installed, "install", "--reinstall", PLACE)
    for unit in (UNIT, SOCKET_UNIT):
        assert installed.systemctl("is-enabled", unit, check=False).stdout.strip() == "disabled"
        assert installed.show(unit, "ActiveState") == "inactive"


def test_a_users_agent_is_the_users_wish(installed: Machine) -> None:
    state = installed.run("systemctl", "--global", "is-enabled", UNIT, check=False).stdout
    assert state.strip() == "disabled"
