"""The HTTP socket: PID 1's, so that requests wait for an agent that is not there."""

import json
import subprocess

from tests.machine import COPY
from tests.machine.images import USER
from tests.namespaces import wait_until
from tests.system.service import SOCKET, Service

CLIENTS = 8
RESTARTS = 50


def test_everybody_may_read_it(service: Service) -> None:
    status = service.get("/v1/runtime/status", user=USER)
    assert status.pop("instance_count") > 0
    assert status == {"active": True, "backend": "systemd"}
    # Services of the machine may come and go between two questions.
    wait_until(lambda: count(service) == len(service.listed()), "as many are counted as listed")
    wait_until(lambda: ids(service) == service.listed(), "the same is listed")


def test_a_request_starts_a_stopped_service_and_is_answered_with_data(service: Service) -> None:
    service.systemctl("stop")
    assert service.show("ActiveState") == "inactive"

    status = service.get("/v1/runtime/status")

    assert status["active"]
    assert status["instance_count"] > 0
    assert service.show("ActiveState") == "active"


def test_the_socket_stays_when_the_service_stops(service: Service) -> None:
    before = service.machine.path(SOCKET).stat().st_ino
    service.systemctl("stop")
    service.systemctl("start")
    assert service.machine.path(SOCKET).stat().st_ino == before


def test_restarts_under_load_refuse_no_request(service: Service) -> None:
    service.drop_in("[Unit]\nStartLimitIntervalSec=0\n")
    program = ("python3", f"{COPY}/tests/system/clients.py", SOCKET, str(CLIENTS))
    with service.machine.spawn(
        "timeout", "550", *program, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as clients:
        for _ in range(RESTARTS):
            service.systemctl("restart")
        out, _ = clients.communicate("")
    result = json.loads(out)
    assert result["failed"] == []
    assert result["clients"] == CLIENTS
    assert result["answered"] > RESTARTS * CLIENTS
    assert service.show("NRestarts") == "0"


def count(service: Service) -> int:
    return int(service.get("/v1/runtime/status", user=USER)["instance_count"])


def ids(service: Service) -> set[str]:
    return {row["id"] for row in service.get("/v1/runtime/instances", user=USER)}
