"""The doctor of the installed package: its advice repairs each problem."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.namespaces import wait_until
from tests.system.engines import Engines
from tests.system.service import GATES, SOCKET_UNIT, UNIT, UNITS, WORKER, Service

Check = dict[str, Any]


@pytest.fixture
def sound(service: Service) -> Iterator[Service]:
    """The installed service with its gates and Avahi running."""
    service.machine.systemctl("unmask", *GATES)
    service.machine.systemctl("start", "avahi-daemon", *GATES)
    yield service
    service.machine.systemctl("unmask", UNIT, "avahi-daemon.service")
    service.machine.systemctl("stop", "avahi-daemon.socket", "avahi-daemon.service")


def troubles(service: Service) -> list[Check]:
    """Return the warnings and failures of the doctor."""
    done = service.machine.run("koi-runtime", "--system", "doctor", "--json=short", check=False)
    found = [one for one in json.loads(done.stdout) if one["verdict"] != "ok"]
    assert done.returncode == (1 if any(one["verdict"] == "fail" for one in found) else 0)
    return found


def test_an_installation_has_no_problems(sound: Service) -> None:
    wait_until(lambda: not troubles(sound), f"no trouble: {troubles(sound)}")
    output = sound.machine.run("koi-runtime", "--system", "doctor").stdout
    assert "No problems found." in output
    for check in ("service", "activation", "gates", "mdns", "versions", "agent", "backends"):
        assert f"ok   {check} " in output


@pytest.mark.parametrize(
    ("trouble", "check"),
    [
        (f"disable --now {UNIT} {SOCKET_UNIT}", "service"),
        (f"mask --now {UNIT}", "service"),
        (f"disable {UNIT}", "service"),
        (f"stop {SOCKET_UNIT}", "http"),
        ("stop avahi-daemon.socket avahi-daemon.service", "mdns"),
    ],
)
def test_the_advice_ends_the_problem(sound: Service, trouble: str, check: str) -> None:
    wait_until(lambda: not troubles(sound), f"no trouble: {troubles(sound)}")
    sound.machine.systemctl(*trouble.split())
    found = troubles(sound)
    assert check in [one["check"] for one in found]
    for _ in range(3):  # one trouble may hide another
        if found:
            sound.machine.run("sh", "-c", next(one["advice"] for one in found if one["advice"]))
            found = troubles(sound)
    wait_until(lambda: not troubles(sound), f"no trouble: {troubles(sound)}")


@pytest.mark.parametrize("mode", ["0600", "0640", "0000"])
def test_unit_and_file_that_the_agent_can_not_read_are_named(sound: Service, mode: str) -> None:
    path = f"{UNITS}/{WORKER}.d/10-secret.conf"
    sound.machine.write(path, "[Service]\nX-Koi-Enable=yes\n")
    sound.machine.run("chmod", mode, path)
    sound.machine.systemctl("daemon-reload")
    try:
        with sound.worker():
            wait_until(lambda: WORKER in sound.listed(), "it is listed")
            wait_until(lambda: troubles(sound), "the doctor warns")
            (found,) = troubles(sound)
            assert WORKER in str(found)
            assert path in str(found)
            shown = sound.machine.run("koi-runtime", "--system", "show", WORKER).stdout
            assert path in shown
            sound.machine.run("chmod", "0644", path)
            sound.machine.systemctl("daemon-reload")
            wait_until(lambda: not troubles(sound), f"it is read: {troubles(sound)}")
    finally:
        sound.machine.remove(f"{UNITS}/{WORKER}.d")
        sound.machine.systemctl("daemon-reload")


def test_an_inactive_gate_of_a_running_engine_is_a_warning(
    sound: Service, engines: Engines
) -> None:
    engine = engines["docker"]
    sound.machine.systemctl("stop", GATES[0])
    engine.start()
    try:
        wait_until(
            lambda: "gates" in [one["check"] for one in troubles(sound)], "the gate is missed"
        )
        (gate,) = [one for one in troubles(sound) if one["check"] == "gates"]
        assert gate["advice"] == f"systemctl start {GATES[0]}"
        sound.machine.run("sh", "-c", gate["advice"])
        wait_until(lambda: not troubles(sound), "the gate is open and Docker followed", timeout=30)
    finally:
        engine.stop()
