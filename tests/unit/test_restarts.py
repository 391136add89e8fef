"""Instances that restart by themselves: when their requests are held."""

from dataclasses import replace
from itertools import pairwise

import pytest

from koi_agent.core.events import Started, Stopped, Updated
from koi_agent.core.instance import Instance, InstanceState, PortMapping, PortSource, Protocol
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.plan.restarts import STEADY
from tests.unit.things import container

GRACE = 2.0
RUNNING, RESTARTING = InstanceState.RUNNING, InstanceState.RESTARTING
PAUSED = InstanceState.PAUSED


def at(*numbers: int, source: PortSource = PortSource.LISTENING) -> tuple[PortMapping, ...]:
    return tuple(
        PortMapping(
            container_port=number,
            protocol=Protocol.TCP,
            host_port=number,
            host_ip="",
            source=source,
        )
        for number in numbers
    )


WEB = replace(container("web"), ports=at(80))


class Scenario:
    """One instance in time, and how it counts."""

    def __init__(self, first: Instance = WEB, *, grace: float = GRACE) -> None:
        self.time = 100.0
        self.grace = RestartGrace(grace, lambda: self.time)
        self.now = first
        self.grace.publish([Started(first)])

    def change(self, state: InstanceState, *ports: int) -> None:
        before, self.now = self.now, replace(self.now, state=state, ports=at(*ports))
        self.grace.publish([Updated(before, self.now)])

    def after(self, seconds: float) -> tuple[InstanceState, list[int]]:
        """Return state and open ports as they count some time later."""
        self.time += seconds
        counted = self.grace.find(self.now.key, {self.now.key: self.now})
        assert counted
        (same,) = self.grace.wanted({self.now.key: self.now})
        assert same == counted
        return counted.state, sorted(port.host_port for port in counted.ports)


def test_short_restart_is_none_for_records() -> None:
    scenario = Scenario()
    scenario.change(RESTARTING)
    assert scenario.after(GRACE - 0.1) == (RUNNING, [80])
    scenario.change(RUNNING)
    assert scenario.after(0) == (RUNNING, [80])
    scenario.change(RUNNING, 80)
    assert scenario.after(100) == (RUNNING, [80])


def test_long_restart_is_held_with_the_ports_of_the_last_run() -> None:
    scenario = Scenario()
    scenario.change(RESTARTING)
    assert scenario.after(GRACE) == (RESTARTING, [80])
    assert scenario.after(1000) == (RESTARTING, [80])
    scenario.change(RUNNING, 81)
    assert scenario.after(STEADY - 1) == (RESTARTING, [80, 81])
    assert scenario.after(1) == (RUNNING, [81])


@pytest.mark.parametrize("run", [0.1, 3.0, STEADY - 0.1])
def test_crash_loop_is_withdrawn_once(run: float) -> None:
    scenario = Scenario()
    seen: list[InstanceState] = []
    for turn in range(12):
        scenario.change(RESTARTING)
        seen += [scenario.after(0.1 * 2**turn / 4)[0] for _ in range(4)]
        scenario.change(RUNNING, 80)
        seen += [scenario.after(run / 4)[0] for _ in range(4)]
    changes = [new for old, new in pairwise(seen) if old is not new]
    assert changes == [RESTARTING]
    assert scenario.after(STEADY) == (RUNNING, [80])


def test_later_restart_gets_the_grace_again() -> None:
    scenario = Scenario()
    for _ in range(3):
        scenario.change(RESTARTING)
        assert scenario.after(GRACE - 0.1)[0] is RUNNING
        assert scenario.after(0.2)[0] is RESTARTING
        scenario.change(RUNNING, 80)
        assert scenario.after(STEADY)[0] is RUNNING


def test_instance_that_is_found_restarting_is_held_at_once() -> None:
    scenario = Scenario(replace(WEB, state=RESTARTING))
    assert scenario.after(0) == (RESTARTING, [80])
    scenario.change(RUNNING, 80)
    assert scenario.after(STEADY - 1)[0] is RESTARTING
    assert scenario.after(1)[0] is RUNNING


def test_without_a_grace_a_restart_is_held_at_once() -> None:
    scenario = Scenario(grace=0)
    scenario.change(RESTARTING)
    assert scenario.after(0) == (RESTARTING, [80])


@pytest.mark.parametrize("seconds", [0, GRACE])
def test_paused_instance_is_paused_after_any_restart(seconds: float) -> None:
    scenario = Scenario()
    scenario.change(RESTARTING)
    scenario.after(seconds)
    scenario.change(RUNNING, 80)
    scenario.change(PAUSED, 80)
    assert scenario.after(0) == (PAUSED, [80])


def test_stop_ends_the_restart() -> None:
    scenario = Scenario()
    scenario.change(RESTARTING)
    scenario.after(GRACE)
    scenario.grace.publish([Stopped(scenario.now, "exited"), Started(WEB)])
    scenario.now = WEB
    assert scenario.after(0) == (RUNNING, [80])


def test_declared_port_is_no_port_of_the_last_run() -> None:
    declared = replace(WEB, ports=at(9, source=PortSource.DECLARED))
    scenario = Scenario(declared)
    scenario.change(RESTARTING)
    assert scenario.after(GRACE) == (RESTARTING, [])


def test_an_instance_that_stops_while_it_is_held_stays_held() -> None:
    scenario = Scenario()
    scenario.change(RESTARTING)
    scenario.time += 3
    scenario.change(RUNNING, 80)
    assert scenario.after(1) == (RESTARTING, [80])
    scenario.grace.publish([Stopped(scenario.now, "exited with 1")])
    counted = scenario.grace.find(scenario.now.key, {})
    assert counted
    assert counted.state is RESTARTING


def test_a_start_after_the_stop_of_a_held_instance_has_only_its_open_ports() -> None:
    scenario = Scenario()
    scenario.change(RESTARTING)
    scenario.time += 3
    scenario.change(RUNNING)
    assert scenario.after(1) == (RESTARTING, [80])
    scenario.grace.publish([Stopped(scenario.now, "exited with 1")])
    scenario.grace.publish([Started(scenario.now)])
    assert scenario.after(0.1) == (RUNNING, [])
