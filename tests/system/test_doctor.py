"""The doctor of the installed package: all is well, or what to type that makes it so."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.namespaces import wait_until
from tests.system.engines import Engines
from tests.system.service import GATES, SOCKET_UNIT, UNIT, Service

Check = dict[str, Any]


@pytest.fixture
def sound(service: Service) -> Iterator[Service]:
    """The service as the package brings it, with its gates open, and an Avahi."""
    service.machine.systemctl("unmask", *GATES)
    service.machine.systemctl("start", "avahi-daemon", *GATES)
    yield service
    service.machine.systemctl("unmask", UNIT, "avahi-daemon.service")
    service.machine.systemctl("stop", "avahi-daemon.socket", "avahi-daemon.service")


def troubles(service: Service) -> list[Check]:
    """Examine; returns what is not as it should be."""
    done = service.machine.run("koi-runtime", "--system", "doctor", "--json=short", check=False)
    found = [one for one in json.loads(done.stdout) if one["verdict"] != "ok"]
    assert done.returncode == (1 if any(one["verdict"] == "fail" for one in found) else 0)
    return found


def test_all_is_well_after_an_installation(sound: Service) -> None:
    wait_until(lambda: not troubles(sound), f"no trouble: {troubles(sound)}")
    said = sound.machine.run("koi-runtime", "--system", "doctor").stdout
    assert "All is well." in said
    for check in ("service", "activation", "gates", "mdns", "versions", "agent", "backends"):
        assert f"ok   {check} " in said


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
def test_what_is_typed_next_ends_the_trouble(sound: Service, trouble: str, check: str) -> None:
    wait_until(lambda: not troubles(sound), f"no trouble: {troubles(sound)}")
    sound.machine.systemctl(*trouble.split())
    found = troubles(sound)
    assert check in [one["check"] for one in found]
    for _ in range(3):  # one trouble may hide another
        if found:
            sound.machine.run("sh", "-c", next(one["advice"] for one in found if one["advice"]))
            found = troubles(sound)
    wait_until(lambda: not troubles(sound), f"no trouble: {troubles(sound)}")


def test_a_gate_that_is_closed_before_an_engine_is_told_with_its_key(
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
