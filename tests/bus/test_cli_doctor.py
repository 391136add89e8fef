"""The doctor, with patients on a bus: a sound agent, a silent one, none."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from koi_agent import __version__
from koi_agent.bus.client import connected
from koi_agent.cli.doctor import examination
from koi_agent.core.dbus_names import NAME
from koi_agent.core.events import Lost
from tests.bus.clients import SHOP, WEB, agent, koi_runtime
from tests.bus.patients import Place, be_impatient
from tests.world.bus import PrivateBus


@pytest.fixture
def place(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    return Place(bus, tmp_path)


async def test_a_sound_agent_is_found_sound(place: Place) -> None:
    async with agent(place.bus, WEB, SHOP, version=__version__):
        found = await place.findings()
    assert [verdict for verdict, *_ in found["bus"]] == ["ok"]
    assert found["state"] == [("ok", "running, 2 instances", "")]
    docker, systemd = found["backends"]
    assert docker[:2] == ("ok", "docker: 1 instance, last listed 0s ago")
    assert systemd[0] == "ok"
    assert found["agent"][0][0] == "ok"
    assert found["agent"][0][1].startswith(f"{NAME} is served by ")


async def test_another_version_is_told_with_what_to_do(place: Place) -> None:
    async with agent(place.bus):
        found = await place.findings()
    verdict, text, advice = found["state"][-1]
    assert (verdict, advice) == ("warn", "systemctl --user restart koi-runtime")
    assert text == f"the agent is of version 1.2.3, this command of {__version__}"


async def test_a_lost_backend_is_a_failure_with_its_last_error(place: Place) -> None:
    async with agent(place.bus, SHOP) as told:
        told.tell(Lost(backend="docker", reason="socket closed"))
        found = await place.findings()
    assert found["state"][0] == ("warn", "degraded, 1 instance", "")
    verdict, text, advice = found["backends"][0]
    assert (verdict, advice) == ("fail", "journalctl --user -u koi-runtime")
    assert text.startswith("docker: stale, last listed ")
    assert text.endswith(": socket closed")


async def test_no_agent_is_a_failure_and_what_hangs_on_it_is_not_asked(place: Place) -> None:
    found = await place.findings()
    advice = "koi-runtime run"
    assert found["agent"] == [("fail", f"nobody owns {NAME} on the user bus", advice)]
    assert not {"state", "backends"} & set(found)


async def test_an_agent_that_says_nothing_fails_in_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(monkeypatch)
    async with connected(place.bus.address) as link:
        await link.own(NAME)
        found = await place.findings()
    assert found["state"] == [("fail", f"no answer within {examination.PATIENCE:.0f} s", "")]
    assert found["backends"] == found["state"]
    assert found["agent"][0][0] == "ok"


async def test_a_bus_that_says_nothing_fails_in_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(monkeypatch)
    place.bus.stop()
    found = await place.findings()
    assert [verdict for verdict, *_ in found["bus"]] == ["fail"]
    assert set(found) == {"bus", "configuration", "http", "versions"}


async def test_the_command_fails_if_something_is_wrong(bus: PrivateBus) -> None:
    said = await koi_runtime(bus, "doctor")
    assert (said.code, said.err) == (1, "")
    assert f"FAIL agent         nobody owns {NAME} on the system bus (koi-runtime run)" in said.out
    assert said.out.isascii()
    assert "failure" in said.out.splitlines()[-1]


async def test_the_command_is_content_with_warnings(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP):
        said = await koi_runtime(bus, "doctor", "--no-legend")
        listed = json.loads((await koi_runtime(bus, "doctor", "--json=short")).out)
    assert said.code == 0
    lines = said.out.splitlines()
    assert {line[:4] for line in lines} == {"ok  ", "warn"}
    assert [line.split()[1] for line in lines] == [record["check"] for record in listed]
    assert set(listed[0]) == {"check", "verdict", "text", "advice"}


async def test_nothing_foreign_reaches_the_terminal_as_it_is(bus: PrivateBus) -> None:
    async with agent(bus, SHOP) as told:
        told.tell(Lost(backend="docker", reason="\x1b[31mred\nFAIL everything"))
        said = await koi_runtime(bus, "doctor")
    assert said.code == 1
    assert "\\x1b[31mred\\x0aFAIL everything" in said.out
    assert "\x1b" not in said.out


async def test_a_user_without_a_bus_is_told_so() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "koi_agent", "--user", "doctor"),
        env={},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")
    assert out.startswith(b"FAIL bus           no user bus: ")
