"""Starting, serving and ending, as systemd and the administrator see it."""

import os
import time

from tests.namespaces import wait_until
from tests.system.service import NAME, SOCKET_UNIT, WORKER, Service


def test_a_quiet_run_warns_of_nothing(service: Service) -> None:
    with service.worker() as worker:
        wait_until(lambda: worker in service.listed(), f"{worker} is listed")
    service.get("/v1/runtime/status")
    service.systemctl("reload")
    service.systemctl("stop")
    assert "started systemd:" in service.journal()
    warnings = service.journal("--priority=warning").splitlines()
    # The hosts of machines may lack the controller, of which systemd 262 warns.
    assert not [line for line in warnings if "pids.max" not in line]


def test_it_stops_by_itself(service: Service) -> None:
    service.get("/v1/runtime/status")
    service.systemctl("stop")
    assert service.show("Result") == "success"
    assert service.show("ExecMainStatus") == "0"


def test_its_status_follows_what_runs(service: Service) -> None:
    # Without a list, other services of the machine would come and go in the number.
    service.configure(f"[Systemd]\nUnits=dbus.service {WORKER}\n")
    service.systemctl("reload")
    wait_until(lambda: service.status.startswith("1 instance: systemd 1"), "only the bus runs")
    with service.worker():
        wait_until(lambda: service.status.startswith("2 instances: systemd 2"), "one more")
    wait_until(lambda: service.status.startswith("1 instance: systemd 1"), "one less")


def test_a_killed_agent_is_started_again(service: Service) -> None:
    first = service.pid
    service.machine.systemctl("kill", "--signal=KILL", "koi-runtime.service")
    wait_until(lambda: service.pid not in (0, first), "another process")
    wait_until(lambda: service.show("ActiveState") == "active", "ready again")
    assert service.show("NRestarts") == "1"


def test_a_bad_configuration_stops_the_start_once_and_for_all(service: Service) -> None:
    path = service.configure("[Systemd]\nTrackExited=perhaps\n")
    assert service.systemctl("restart", check=False).returncode != 0
    time.sleep(1.5)  # RestartSec= and more
    assert service.show("ActiveState") == "failed"
    assert service.show("ExecMainStatus") == str(os.EX_CONFIG)
    assert service.show("NRestarts") == "0"
    journal = service.journal()
    assert f"{path}:2" in journal
    assert "perhaps" in journal


def test_a_taken_name_is_told_and_waited_for(service: Service) -> None:
    machine = service.machine
    machine.systemctl("stop", "koi-runtime.service", SOCKET_UNIT)
    with machine.spawn("timeout", "60", "koi-runtime", "--system", "run") as other:
        try:
            ask = ("busctl", "--system", "status", NAME)
            wait_until(lambda: machine.run(*ask, check=False).returncode == 0, "the other serves")
            assert service.systemctl("start", check=False).returncode != 0
            failed = str(os.EX_TEMPFAIL)
            wait_until(lambda: service.show("ExecMainStatus") == failed, "it failed")
            assert "is owned by another process" in service.journal("--priority=err")
        finally:
            machine.run("pkill", "--full", "[k]oi-runtime --system run")
            other.wait()
    wait_until(lambda: service.show("ActiveState") == "active", "it has the name")
