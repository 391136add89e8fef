"""Units of each version of systemd, followed by the installed service."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.service import UNITS, Service

LOOP = "koi-loop.service"
CRASHES = """\
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/false
Restart=always
RestartSec=0
"""
RESTARTS = 40
CONNECTED = """\
[Service]
ExecStart=sleep infinity
StandardInput=socket
[X-Koi]
Announce=acc
Port=9100
"""
SOCKET = "[Socket]\nListenStream=%i\nAccept=yes\n"
CONNECT = """\
import socket, sys
held = [socket.create_connection(("127.0.0.1", 9100)) for _ in range(3)]
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def machine_of(service: Service) -> Iterator[Machine]:
    """The machine, without the units of a test afterwards."""
    machine = service.machine
    yield machine
    machine.systemctl("stop", LOOP, "koi-acc@9100.socket", "koi-acc@*.service", check=False)
    for name in (LOOP, "koi-acc@.socket", "koi-acc@.service", "koi-secret.service"):
        machine.remove(f"{UNITS}/{name}")
    machine.remove(f"{UNITS}/koi-secret.service.d")
    machine.systemctl("daemon-reload")


def test_a_crash_loop_is_one_run(machine_of: Machine, service: Service) -> None:
    machine_of.write(f"{UNITS}/{LOOP}", CRASHES)
    machine_of.systemctl("daemon-reload")
    busy = [machine_of.spawn("sh", "-c", "while :; do :; done") for _ in range(2)]
    try:
        machine_of.systemctl("start", LOOP, check=False)
        wait_until(
            lambda: int(machine_of.show(LOOP, "NRestarts")) >= RESTARTS, "restarts", timeout=120
        )
        assert LOOP in service.listed()
    finally:
        for process in busy:
            process.kill()
            process.wait()
        machine_of.systemctl("stop", LOOP)
    wait_until(lambda: LOOP not in service.listed(), "it is gone")
    told = Counter(record["KOI_EVENT"] for record in records(service, LOOP))
    assert (told["started"], told["stopped"]) == (1, 1)


def test_services_of_connections_are_left_out(machine_of: Machine, service: Service) -> None:
    machine_of.write(f"{UNITS}/koi-acc@.socket", SOCKET)
    machine_of.write(f"{UNITS}/koi-acc@.service", CONNECTED)
    machine_of.systemctl("daemon-reload")
    machine_of.systemctl("start", "koi-acc@9100.socket")
    with machine_of.spawn("python3", "-c", CONNECT, stdin=-1, stdout=-1) as client:
        assert client.stdout
        assert client.stdout.readline() == "connected\n"
        count = ("list-units", "--state=active", "--plain", "--no-legend", "koi-acc@*.service")
        wait_until(lambda: len(machine_of.systemctl(*count).stdout.split("\n")) == 4, "connections")
        with service.worker() as worker:  # a later unit is shown: earlier ones would be, too
            wait_until(lambda: worker in service.listed(), "the later unit is listed")
            assert not [id_ for id_ in service.listed() if id_.startswith("koi-acc@")]
        client.kill()
    assert not [one for one in service.records("KOI_EVENT=started") if "acc@" in str(one)]


def records(service: Service, unit: str) -> list[dict[str, object]]:
    return service.records(f"KOI_INSTANCE=systemd:{unit}")
