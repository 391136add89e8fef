"""The doctor with an agent that runs, an agent that does not answer, and without an agent."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from koi_agent import __version__
from koi_agent.bus.client import connected
from koi_agent.core.dbus_names import NAME
from koi_agent.core.events import Lost
from tests.bus.clients import SHOP, WEB, agent, koi_runtime
from tests.bus.doctor_setup import Setup
from tests.world.bus import PrivateBus


@pytest.fixture
def setup(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    return Setup(bus, tmp_path)


async def test_a_running_agent_has_no_problems(setup: Setup) -> None:
    async with agent(setup.bus, WEB, SHOP, version=__version__):
        found = await setup.findings()
    assert [verdict for verdict, *_ in found["bus"]] == ["ok"]
    assert found["state"] == [("ok", "running, 2 instances", "")]
    docker, systemd = found["backends"]
    assert docker[0] == "ok"
    assert docker[1].startswith("docker: 1 instance, last listed ")
    assert systemd[0] == "ok"
    assert found["agent"][0][0] == "ok"
    assert found["agent"][0][1].startswith(f"{NAME} is owned by ")


async def test_another_version_is_a_warning_with_advice(setup: Setup) -> None:
    async with agent(setup.bus):
        found = await setup.findings()
    verdict, text, advice = found["state"][-1]
    assert (verdict, advice) == ("warn", "systemctl --user restart koi-runtime")
    assert text == f"the agent has version 1.2.3, this command has version {__version__}"


async def test_a_lost_backend_is_a_failure_with_its_last_error(setup: Setup) -> None:
    async with agent(setup.bus, SHOP) as running:
        running.apply(Lost(backend="docker", reason="socket closed"))
        found = await setup.findings()
    assert found["state"][0] == ("warn", "degraded, 1 instance", "")
    verdict, text, advice = found["backends"][0]
    assert (verdict, advice) == ("fail", "journalctl --user -u koi-runtime")
    assert text.startswith("docker: stale, last listed ")
    assert text.endswith(": socket closed")


async def test_without_an_agent_its_checks_are_skipped(setup: Setup) -> None:
    found = await setup.findings()
    advice = "koi-runtime run"
    assert found["agent"] == [("fail", f"{NAME} has no owner on the user bus", advice)]
    assert not {"state", "backends"} & set(found)


async def test_an_agent_that_does_not_answer_is_a_failure_in_time(
    setup: Setup,
) -> None:
    setup = replace(setup, timeout=2)
    async with connected(setup.bus.address) as link:
        await link.request_name(NAME)
        found = await setup.findings()
    assert found["state"] == [("fail", "no answer within 2 s", "")]
    assert found["backends"] == found["state"]
    assert found["agent"][0][0] == "ok"


async def test_a_bus_that_does_not_answer_is_a_failure_in_time(
    setup: Setup,
) -> None:
    setup = replace(setup, timeout=2)
    setup.bus.stop()
    found = await setup.findings()
    assert [verdict for verdict, *_ in found["bus"]] == ["fail"]
    assert set(found) == {"bus", "configuration", "http", "versions"}


async def test_the_command_fails_with_a_failure(bus: PrivateBus) -> None:
    result = await koi_runtime(bus, "doctor")
    assert (result.code, result.err) == (1, "")
    assert (
        f"FAIL agent         {NAME} has no owner on the system bus (koi-runtime run)" in result.out
    )
    assert result.out.isascii()
    assert "failure" in result.out.splitlines()[-1]


async def test_the_command_succeeds_with_warnings(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP):
        result = await koi_runtime(bus, "doctor", "--no-legend")
        listed = json.loads((await koi_runtime(bus, "doctor", "--json=short")).out)
    assert result.code == 0
    lines = result.out.splitlines()
    assert {line[:4] for line in lines} == {"ok  ", "warn"}
    assert [line.split()[1] for line in lines] == [record["check"] for record in listed]
    assert set(listed[0]) == {"check", "verdict", "text", "advice"}


async def test_foreign_text_is_escaped(bus: PrivateBus) -> None:
    async with agent(bus, SHOP) as running:
        running.apply(Lost(backend="docker", reason="\x1b[31mred\nFAIL everything"))
        result = await koi_runtime(bus, "doctor")
    assert result.code == 1
    assert "\\x1b[31mred\\x0aFAIL everything" in result.out
    assert "\x1b" not in result.out


async def test_a_user_without_a_bus_gets_a_failure() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "koi_agent", "--user", "doctor"),
        env={},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")
    assert out.startswith(b"FAIL bus           no user bus: ")
