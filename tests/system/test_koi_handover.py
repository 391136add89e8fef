"""The breadcrumb of a Koi daemon is handed to the agent's user, and to no other."""

import signal
from collections.abc import Iterator

import pytest

from tests.machine import Machine
from tests.machine.images import USER
from tests.namespaces import wait_until
from tests.system.service import Service
from tests.system.test_gate import MOST_EXPOSURE
from tests.system.test_installed import EXPOSURE

PATH_UNIT = "koi-runtime-koi.path"
UNIT = "koi-runtime-koi.service"
AGENT = "_koi-runtime"
SOURCE = "/run/koi.endpoint"
COPY = "/run/koi-runtime/koi/endpoint"
URL = "http://127.0.0.1:5641"
# As a daemon does it: the file is made, then written in place.
WRITE = 'umask 077; printf "%s\\n" "$1" "dat:$2" >/run/koi.endpoint'
MANY = """
for number in $(seq 300); do
    sh -ec "$3" write "$1" "$2$number"
    rm /run/koi.endpoint
done
"""
HOSTILE = {
    "a link": 'printf "%s\\n" "$1" "dat:$2" >/run/other; ln -sf /run/other /run/koi.endpoint',
    "a pipe": "mkfifo /run/other; mv /run/other /run/koi.endpoint",
    "huge": "truncate --size=8T /run/koi.endpoint",
    "another user's": f"chown {USER} /run/koi.endpoint",
    "writable": "chmod 0666 /run/koi.endpoint",
    "more than a breadcrumb": "echo more >>/run/koi.endpoint",
}


@pytest.fixture
def host(service: Service) -> Iterator[Machine]:
    """A machine whose breadcrumb is handed over as soon as there is one."""
    machine = service.machine
    machine.remove(SOURCE)
    machine.systemctl("enable", "--now", PATH_UNIT)
    yield machine
    machine.systemctl("disable", "--now", PATH_UNIT)
    machine.run("rm", "-f", SOURCE, "/run/other")
    wait_until(lambda: machine.show(UNIT, "ActiveState") == "inactive", "the service has ended")
    machine.systemctl("reset-failed", UNIT, check=False)


def write(machine: Machine, token: str, script: str = WRITE) -> None:
    machine.run("sh", "-ec", script, "write", URL, token)


def seen(machine: Machine, user: str = AGENT) -> str:
    """Return what a user reads, "" for nothing."""
    return machine.run("cat", COPY, user=user, check=False).stdout


def await_seen(machine: Machine, token: str) -> None:
    """Wait until the agent's user sees a token, or no copy for ""."""
    text = f"{URL}\ndat:{token}\n" if token else ""
    wait_until(lambda: seen(machine) == text, f"the copy has the token {token!r}", timeout=60)


def test_it_is_off_unless_it_is_enabled(service: Service) -> None:
    machine = service.machine
    state = machine.systemctl("is-enabled", PATH_UNIT, check=False).stdout.strip()
    assert state == "disabled"
    assert machine.show(PATH_UNIT, "ActiveState") == "inactive"


def test_the_copy_follows_restarts_of_the_daemon_to_its_end(host: Machine) -> None:
    assert host.show(UNIT, "ActiveState") == "inactive"
    for number in range(5):
        write(host, f"token{number}")
        await_seen(host, f"token{number}")
    assert host.run("stat", "-c", "%a %U", COPY).stdout == f"400 {AGENT}\n"
    assert (seen(host, "root"), seen(host, USER)) == (seen(host), "")
    host.run("rm", SOURCE)
    await_seen(host, "")
    wait_until(lambda: host.show(UNIT, "ActiveState") == "inactive", "the service has ended")
    assert host.show(UNIT, "Result") == "success"
    write(host, "back")
    await_seen(host, "back")


def test_many_restarts_of_the_daemon_end_with_its_last_token(host: Machine) -> None:
    host.run("sh", "-ec", MANY, "many", URL, "token", WRITE)
    write(host, "last")
    await_seen(host, "last")
    assert host.show(PATH_UNIT, "ActiveState") == "active"


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
def test_what_no_daemon_writes_is_not_handed_over(host: Machine, script: str) -> None:
    write(host, "good")
    await_seen(host, "good")
    write(host, "bad", script)
    await_seen(host, "")
    assert host.show(UNIT, "ActiveState") == "active"
    host.run("rm", "-f", SOURCE)
    write(host, "new")
    await_seen(host, "new")


def test_a_service_that_is_killed_goes_on(host: Machine) -> None:
    write(host, "old")
    await_seen(host, "old")
    host.kill(int(host.show(UNIT, "MainPID")), signal.SIGKILL)
    write(host, "new")
    await_seen(host, "new")
    assert host.show(UNIT, "NRestarts") == "1"


def test_the_copy_is_there_as_long_as_the_agent_runs(host: Machine, service: Service) -> None:
    write(host, "token")
    await_seen(host, "token")
    service.systemctl("restart")
    await_seen(host, "token")
    host.kill(service.pid, signal.SIGKILL)
    wait_until(lambda: service.show("NRestarts") == "1", "the agent is restarted")
    await_seen(host, "token")
    host.systemctl("stop", "koi-runtime.socket", "koi-runtime.service")
    await_seen(host, "")
    assert not host.path("/run/koi-runtime/koi").exists()
    assert host.path("/run/koi-runtime").is_dir()
    service.systemctl("start")
    await_seen(host, "token")


def test_no_copy_is_left_without_the_path_unit(host: Machine) -> None:
    write(host, "token")
    await_seen(host, "token")
    host.systemctl("disable", "--now", PATH_UNIT)
    await_seen(host, "")
    wait_until(lambda: host.show(UNIT, "ActiveState") == "inactive", "the service has stopped")


def test_the_service_is_exposed_to_little(host: Machine) -> None:
    write(host, "token")
    await_seen(host, "token")
    shown = EXPOSURE.search(host.run("systemd-analyze", "security", "--no-pager", UNIT).stdout)
    assert shown
    assert float(shown[1]) <= MOST_EXPOSURE
    lines = host.path(f"/proc/{host.show(UNIT, 'MainPID')}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    assert int(status["CapEff"], 16) == 1  # CAP_CHOWN
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
