"""The controller: plans change with events, a restart, a lost backend, a reload."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from koi_agent.announce.controller import GATHER, MARGIN, Controller
from koi_agent.capabilities.health import HEALTH
from koi_agent.capabilities.mdns import MDNS
from koi_agent.config import Config
from koi_agent.config.sections import CapabilitiesConfig
from koi_agent.core.events import Change, Lost, Seen
from koi_agent.core.instance import EnabledBy, Instance, KoiMetadata, PortSource, Protocol
from koi_agent.core.instance import PortMapping as Port
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.registry import Registry
from koi_agent.host.own_names import OwnNames
from tests.unit.things import gone, listing, unit
from tests.unit.virtual_time import now, run

OFF = Config(scope="user", capabilities=CapabilitiesConfig(mdns="off"))
PORT = Port(
    container_port=80, host_port=80, protocol=Protocol.TCP, host_ip="", source=PortSource.LISTENING
)
WEB = replace(
    unit("web.service"),
    metadata=KoiMetadata(enable=True, enabled_by=EnabledBy.EXPLICIT),
    ports=(PORT,),
)


@pytest.fixture(autouse=True)
def no_bus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the system bus: virtual time does not wait for a real one."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")


class Scenario:
    """A registry, a controller and the restart grace, connected as in the agent."""

    def __init__(self) -> None:
        self.registry = Registry({"systemd": "systemd"})
        self.grace = RestartGrace(2.0, now)
        names = OwnNames(lambda: None, self.host_name)
        self.rounds = 0
        self.controller = Controller((MDNS, HEALTH), OFF, self.grace, self.apply, names)
        self.updates = 0

    def host_name(self) -> str:
        """Return the name of the host, and count rounds: the controller reads it once in each."""
        self.rounds += 1
        return "box.example.org"

    def apply(self, change: Change) -> None:
        events = self.registry.apply(change, 1)
        self.updates += len(events)
        for sink in (self.grace, self.controller):
            sink.publish(events)

    def wanted(self, instance: Instance = WEB) -> list[str]:
        decisions = self.controller.decisions(instance.key)
        return [one.about for one in decisions if (one.state, one.capability) == ("wanted", "mdns")]

    def announcements(self, instance: Instance = WEB) -> set[tuple[str, str, str]]:
        shown = self.registry.visible[instance.key].announcements
        return {(one.name, one.state, one.reason) for one in shown}


def run_scenario(steps: Callable[[Scenario], Awaitable[None]]) -> None:
    """Run a controller and these steps in virtual time."""

    async def whole() -> None:
        scenario = Scenario()
        scenario.apply(listing("systemd", WEB))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(scenario.controller.run())
            await asyncio.sleep(1)
            await steps(scenario)
            task.cancel()

    run(whole())


def test_status_of_requests_is_part_of_the_instance() -> None:
    async def steps(scenario: Scenario) -> None:
        assert scenario.announcements() == {
            ("web._http._tcp.local", "held", "turned off"),
            ("web.local", "held", "turned off"),
        }
        before = scenario.updates
        await asyncio.sleep(1000)
        assert scenario.updates == before

    run_scenario(steps)


def test_restart_within_the_grace_changes_nothing() -> None:
    async def steps(scenario: Scenario) -> None:
        scenario.apply(Seen(replace(WEB, ports=())))
        scenario.apply(gone(WEB))
        await asyncio.sleep(1)
        assert scenario.wanted() == ["port 80/tcp", "host name"]
        scenario.apply(Seen(replace(WEB, ports=())))
        await asyncio.sleep(1.5)
        assert scenario.wanted() == ["port 80/tcp", "host name"]
        scenario.apply(Seen(WEB))
        await asyncio.sleep(5)
        assert scenario.wanted() == ["port 80/tcp", "host name"]
        assert scenario.announcements() == {
            ("web._http._tcp.local", "held", "turned off"),
            ("web.local", "held", "turned off"),
        }

    run_scenario(steps)


def test_instance_that_does_not_come_back_is_withdrawn() -> None:
    async def steps(scenario: Scenario) -> None:
        scenario.apply(gone(WEB))
        await asyncio.sleep(1.9)
        assert scenario.wanted()
        await asyncio.sleep(0.2)
        assert not scenario.wanted()

    run_scenario(steps)


def test_stops_of_a_burst_are_planned_in_one_round_after_the_grace() -> None:
    async def steps(scenario: Scenario) -> None:
        some = [replace(WEB, id=f"web{number}.service") for number in range(100)]
        for one in some:
            scenario.apply(Seen(one))
        await asyncio.sleep(1)
        before = scenario.rounds
        for one in some:
            scenario.apply(gone(one))
        await asyncio.sleep(1.9)
        assert scenario.rounds == before
        await asyncio.sleep(0.3)
        assert scenario.rounds == before + 1
        assert not any(scenario.wanted(one) for one in some)

    run_scenario(steps)


def test_deadline_and_event_in_one_turn_share_a_round() -> None:
    async def steps(scenario: Scenario) -> None:
        other = replace(WEB, id="other.service")
        names = [replace(other, metadata=replace(WEB.metadata, name=name)) for name in ("a", "b")]
        scenario.apply(gone(WEB))
        deadline = math.ceil((now() + 2 + MARGIN) / GATHER) * GATHER
        before = scenario.rounds
        loop = asyncio.get_running_loop()
        for number in range(200):
            loop.call_at(deadline + number * 0.01, scenario.apply, Seen(names[number % 2]))
        await asyncio.sleep(deadline - now() + 2)
        assert 0 < scenario.rounds - before <= 2 / GATHER + 1

    run_scenario(steps)


def test_longer_grace_applies_to_an_instance_that_has_stopped_already() -> None:
    async def steps(scenario: Scenario) -> None:
        scenario.apply(gone(WEB))
        await asyncio.sleep(1)
        scenario.grace.seconds = 10.0
        await asyncio.sleep(8)
        assert scenario.wanted()
        await asyncio.sleep(4)
        assert not scenario.wanted()

    run_scenario(steps)


def test_recreated_instance_gets_the_names_at_once() -> None:
    async def steps(scenario: Scenario) -> None:
        scenario.apply(gone(WEB))
        again = replace(WEB, id="another.service")
        scenario.apply(Seen(again))
        await asyncio.sleep(0.2)
        assert not scenario.wanted()
        assert scenario.announcements(again) == {
            ("web._http._tcp.local", "held", "turned off"),
            ("web.local", "held", "turned off"),
        }

    run_scenario(steps)


def test_closed_port_is_withdrawn() -> None:
    async def steps(scenario: Scenario) -> None:
        scenario.apply(Seen(replace(WEB, ports=())))
        await asyncio.sleep(2.2)
        assert not scenario.wanted()
        assert [status for _, status, _ in scenario.announcements()] == ["held"]

    run_scenario(steps)


def test_instance_that_opts_out_is_withdrawn_at_once() -> None:
    async def steps(scenario: Scenario) -> None:
        scenario.apply(Seen(replace(WEB, metadata=KoiMetadata(enable=False))))
        assert not scenario.wanted()
        await asyncio.sleep(0.2)
        assert scenario.announcements() == set()
        scenario.apply(Seen(WEB))
        await asyncio.sleep(0.2)
        assert len(scenario.announcements()) == 2

    run_scenario(steps)


def test_instances_of_a_lost_backend_are_withdrawn_after_a_while() -> None:
    async def steps(scenario: Scenario) -> None:
        scenario.apply(Lost(backend="systemd", reason="gone"))
        await asyncio.sleep(599)
        assert scenario.wanted()
        await asyncio.sleep(2)
        assert not scenario.wanted()
        assert ("host name", "held", "systemd has not answered for too long") in (
            scenario.announcements()
        )
        scenario.apply(listing("systemd", WEB))
        await asyncio.sleep(0.2)
        assert scenario.wanted()

    run_scenario(steps)


@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_instance_that_restarts_without_its_opt_in_is_withdrawn(pause: float) -> None:
    async def steps(scenario: Scenario) -> None:
        scenario.apply(gone(WEB))
        await asyncio.sleep(pause)
        scenario.apply(Seen(replace(WEB, metadata=KoiMetadata(enable=False))))
        await asyncio.sleep(0.1)
        assert not scenario.wanted()

    run_scenario(steps)


def test_reload_applies_to_an_instance_that_has_stopped() -> None:
    async def steps(scenario: Scenario) -> None:
        scenario.grace.seconds = 60.0
        for one in (WEB, replace(WEB, id="other.service")):
            scenario.apply(Seen(one))
            scenario.apply(gone(one))
            await asyncio.sleep(1)
            assert scenario.wanted(one)
            if one is WEB:
                denied = replace(OFF.capabilities, deny_names=("*",))
                scenario.controller.change(replace(OFF, capabilities=denied))
            else:
                scenario.grace.seconds = 0.0
                scenario.controller.change(OFF)
            await asyncio.sleep(0.1)
            assert not scenario.wanted(one)
            scenario.controller.change(OFF)
            await asyncio.sleep(0.1)

    run_scenario(steps)


def test_reload_applies_the_new_configuration() -> None:
    async def steps(scenario: Scenario) -> None:
        partner = replace(WEB, metadata=replace(WEB.metadata, enabled_by=EnabledBy.PARTNER))
        scenario.apply(Seen(partner))
        assert scenario.wanted()
        off = replace(OFF, capabilities=replace(OFF.capabilities, partner_labels=False))
        scenario.controller.change(off)
        assert not scenario.wanted()
        await asyncio.sleep(0.2)
        assert scenario.announcements() == set()

    run_scenario(steps)
