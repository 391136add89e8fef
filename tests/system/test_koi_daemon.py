"""A real Koi daemon of root gives its token to the confined agent, and gets names from it.

``KOI_DAEMON`` is the path of its program; see ``tests/real/koi_daemon.py``.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.machine import Machine
from tests.namespaces import wait_until
from tests.real.koi_daemon import PROGRAM
from tests.system.service import UNITS, Service
from tests.system.test_announcing import WEB
from tests.system.test_koi_handover import PATH_UNIT, SOURCE

KOI = "koi.service"
# Its own unit restarts it in the same way.
KOI_UNIT = """\
[Service]
ExecStart=/srv/koi --daemon --no-runtime --no-udp
Restart=always
RestartSec=1s
"""
API = "http://127.0.0.1:5641"
CONFIGURATION = "[Capabilities]\nMDNS=off\nDNS=koi\n"
ADDRESS = "10.77.0.1"
OTHER = '{"name": "printer", "ip": "10.77.0.9"}'


@pytest.fixture
def host(service: Service) -> Iterator[Machine]:
    """A machine with a Koi daemon that runs, and with a unit ``web`` whose name it gets."""
    if not Path(PROGRAM or "/nonexistent").is_file():
        require("koi", "KOI_DAEMON is not the path of a Koi daemon")
    machine = service.machine
    shutil.copy(PROGRAM, machine.path("/srv/koi"))
    machine.write(f"{UNITS}/{KOI}", KOI_UNIT)
    machine.write(f"{UNITS}/web.service", WEB)
    machine.run("ip", "link", "add", "koi0", "type", "veth", "peer", "name", "koi1")
    for name in ("koi0", "koi1"):
        machine.run("ip", "link", "set", name, "up")
    machine.run("ip", "address", "add", f"{ADDRESS}/24", "dev", "koi0")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", KOI, "web.service")
    service.configure(CONFIGURATION)
    service.systemctl("reload")
    yield machine
    machine.systemctl("disable", "--now", PATH_UNIT)
    machine.systemctl("stop", KOI, "web.service")
    machine.run("ip", "link", "delete", "koi0")
    for path in (f"{UNITS}/{KOI}", f"{UNITS}/web.service", "/srv/koi", SOURCE, "/var/lib/koi"):
        machine.remove(path)
    machine.systemctl("daemon-reload")


def names(machine: Machine) -> set[str]:
    """Return the names at the daemon, nothing while it does not answer."""
    answer = machine.run("curl", "-sSf", f"{API}/v1/dns/entries", check=False).stdout
    return {one["name"] for one in json.loads(answer or '{"entries": []}')["entries"]}


def token(machine: Machine) -> str:
    lines = machine.run("cat", SOURCE, check=False).stdout.splitlines()
    return lines[1].removeprefix("dat:") if len(lines) == 2 else ""


def doctor(machine: Machine) -> str:
    return machine.run("koi-runtime", "--system", "doctor", check=False).stdout


def add_other(machine: Machine) -> None:
    """Add a name as another client."""
    fields = ("-H", f"x-koi-token: {token(machine)}", "-H", "content-type: application/json")
    machine.run("curl", "-sSf", *fields, "-d", OTHER, f"{API}/v1/dns/add")


def await_names(machine: Machine, *expected: str) -> None:
    wanted = {f"{one}.internal." for one in expected}
    wait_until(
        lambda: names(machine) == wanted, lambda: f"{names(machine)} is {wanted}", timeout=90
    )


def test_the_agent_follows_a_daemon_of_root_over_its_restarts(
    service: Service, host: Machine
) -> None:
    wait_until(lambda: token(host), "the daemon has its breadcrumb", timeout=60)
    wait_until(lambda: host.run("curl", "-sSf", f"{API}/healthz", check=False).stdout, "it answers")
    add_other(host)
    assert names(host) == {"printer.internal."}, "the agent has no token"
    assert f"systemctl enable --now {PATH_UNIT}" in doctor(host)
    host.systemctl("enable", "--now", PATH_UNIT)
    await_names(host, "printer", "web")
    for _ in range(2):
        before = token(host)
        host.systemctl("kill", "--signal=SIGKILL", KOI)
        wait_until(lambda: token(host) not in ("", before), "it has another token", timeout=60)  # noqa: B023 - at once
        await_names(host, "printer", "web")
        host.systemctl("stop", "web.service")
        await_names(host, "printer")
        host.systemctl("start", "web.service")
        await_names(host, "printer", "web")
    assert f"the Koi daemon at {API} answers, and accepts the token" in doctor(host)
    service.systemctl("stop")
    await_names(host, "printer")
