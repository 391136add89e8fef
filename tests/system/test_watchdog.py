"""An agent that stands still is restarted by its watchdog."""

import signal
import time

import pytest

from tests.machine import COPY
from tests.namespaces import wait_until
from tests.system.service import Service

WATCHDOG = 5.0
DROP_IN = f"""\
[Service]
WatchdogSec={WATCHDOG:g}s
RestartSec=100ms
"""
BLOCKED = f"""\
ExecStart=
ExecStart=/usr/bin/python3 -I {COPY}/tests/system/blockable.py run --system
"""


@pytest.mark.parametrize(
    ("number", "lines"),
    [(signal.SIGSTOP, ""), (signal.SIGUSR2, BLOCKED)],
    ids=["stopped process", "blocked loop"],
)
def test_an_agent_that_stands_still_is_restarted(
    service: Service, number: signal.Signals, lines: str
) -> None:
    service.drop_in(DROP_IN + lines)
    service.systemctl("restart")
    first = service.pid
    time.sleep(WATCHDOG * 1.5)  # it is alive as long as nothing happens to it
    assert service.pid == first
    assert service.show("NRestarts") == "0"

    service.machine.kill(first, number)
    wait_until(lambda: service.show("NRestarts") == "1", "a restart")
    wait_until(lambda: service.show("ActiveState") == "active", "ready again")

    assert service.pid != first
    assert "Watchdog timeout" in service.journal()
    assert service.get("/v1/runtime/status")["active"]


def test_a_bus_that_stands_still_costs_no_restart(service: Service) -> None:
    service.drop_in(DROP_IN)
    service.systemctl("restart")
    first = service.pid
    bus = int(service.machine.show("dbus.service", "MainPID"))
    service.machine.kill(bus, signal.SIGSTOP)
    try:
        time.sleep(WATCHDOG * 3)
    finally:
        service.machine.kill(bus, signal.SIGCONT)
    wait_until(service.listed, "it answers again")
    assert service.pid == first
    assert service.show("NRestarts") == "0"
