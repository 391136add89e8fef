"""Restart grace: an instance that comes back soon enough counts as present."""

from dataclasses import replace

import pytest

from koi_agent.core.events import Started, Stopped, Updated
from koi_agent.core.instance import Instance, PortMapping, PortSource, Protocol
from koi_agent.core.plan.linger import RestartGrace
from tests.costs import alive
from tests.unit.things import unit

A, B = unit("a.service"), unit("b.service")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def wanted(grace: RestartGrace, *visible: Instance) -> list[Instance]:
    return list(grace.wanted({instance.key: instance for instance in visible}))


def test_stopped_instance_is_wanted_until_the_grace_is_over() -> None:
    clock = Clock()
    grace = RestartGrace(2.0, clock)
    grace.publish([Stopped(A, "exited")])
    clock.now += 1.9
    assert wanted(grace, B) == [A, B]
    clock.now += 0.2
    assert wanted(grace, B) == [B]


def test_grace_starts_again_at_the_next_stop() -> None:
    clock = Clock()
    grace = RestartGrace(2.0, clock)
    new = replace(A, main_pid=7)
    grace.publish([Stopped(A, "exited"), Stopped(B, "exited")])
    clock.now += 1.0
    grace.publish([Started(new)])
    assert wanted(grace, new) == [new, B]
    clock.now += 0.5
    grace.publish([Stopped(new, "exited")])
    clock.now += 1.0
    assert wanted(grace) == [new]


@pytest.mark.parametrize("reason", ["claimed", "removed", "no longer followed"])
def test_instance_that_can_not_come_back_has_no_grace(reason: str) -> None:
    grace = RestartGrace(2.0, Clock())
    grace.publish([Stopped(A, reason)])
    assert wanted(grace) == []


def test_grace_of_zero_keeps_no_instance() -> None:
    grace = RestartGrace(0.0, Clock())
    grace.publish([Stopped(A, "exited")])
    assert wanted(grace) == []


def test_expired_instances_are_dropped() -> None:
    clock = Clock()
    grace = RestartGrace(2.0, clock)
    before = alive(Instance)
    for number in range(100):
        grace.publish([Stopped(unit(f"{number}.service"), "exited")])
        clock.now += 0.1
    assert alive(Instance) - before <= 21


def at(instance: Instance, *numbers: int) -> Instance:
    """Return the instance with these ports."""
    ports = tuple(
        PortMapping(
            container_port=number,
            host_port=number,
            protocol=Protocol.TCP,
            host_ip="",
            source=PortSource.LISTENING,
        )
        for number in numbers
    )
    return replace(instance, ports=ports)


def open_ports(grace: RestartGrace, visible: Instance) -> list[int]:
    (one,) = wanted(grace, visible)
    return [port.host_port for port in one.ports]


def test_restarted_instance_keeps_its_ports_until_they_are_found_again() -> None:
    clock = Clock()
    grace = RestartGrace(2.0, clock)
    grace.publish([Updated(at(A, 80, 81), at(A)), Stopped(at(A), "exited")])
    clock.now += 1.0
    grace.publish([Started(at(A))])
    assert open_ports(grace, at(A)) == [80, 81]
    grace.publish([Updated(at(A), at(A, 80, 90))])
    assert open_ports(grace, at(A, 80, 90)) == [80, 90, 81]
    clock.now += 2.1
    assert open_ports(grace, at(A, 80, 90)) == [80, 90]


def test_closed_port_is_kept_for_the_grace_during_other_changes() -> None:
    clock = Clock()
    grace = RestartGrace(2.0, clock)
    grace.publish([Updated(at(A, 80, 81, 82), at(A, 81, 82))])
    clock.now += 1.5
    grace.publish([Updated(at(A, 81, 82), at(A, 82))])
    assert open_ports(grace, at(A, 82)) == [82, 80, 81]
    clock.now += 0.6
    assert open_ports(grace, at(A, 82)) == [82]


def test_a_port_of_a_cluster_does_not_stand_for_a_closed_one() -> None:
    grace = RestartGrace(2.0, Clock())
    (closing,) = at(A, 80).ports
    of_cluster = replace(closing, host_ip="10.96.0.7", source=PortSource.CLUSTER)
    before, after = replace(A, ports=(closing, of_cluster)), replace(A, ports=(of_cluster,))
    grace.publish([Updated(before, after)])
    (kept,) = wanted(grace, after)
    assert sorted(kept.ports) == sorted(before.ports)
    grace.publish([Updated(after, replace(A, ports=()))])
    (kept,) = wanted(grace, replace(A, ports=()))
    assert kept.ports == (closing,)


def test_port_bound_to_another_address_is_not_kept() -> None:
    grace = RestartGrace(2.0, Clock())
    before = at(A, 80)
    after = replace(before, ports=(replace(before.ports[0], host_ip="127.0.0.1"),))
    grace.publish([Updated(before, after)])
    assert wanted(grace, after) == [after]


def test_recreated_instance_replaces_the_stopped_one() -> None:
    grace = RestartGrace(2.0, Clock())
    grace.publish([Stopped(A, "exited"), Stopped(B, "exited")])
    assert grace.replace(A) is None
    assert grace.replace(replace(A, id="other.service", name="other")) is None
    assert grace.replace(replace(A, id="new")) == A.key
    assert wanted(grace) == [B]
    assert grace.replace(replace(A, id="new")) is None


def test_a_closed_port_counts_no_longer_when_another_one_opens() -> None:
    clock = Clock()
    grace = RestartGrace(2.0, clock)
    grace.publish([Updated(at(A, 80), at(A))])
    clock.now += 1.9
    grace.publish([Updated(at(B, 90), at(B)), Updated(at(A), at(A, 81))])
    assert open_ports(grace, at(A, 81)) == [81, 80]
    clock.now += 0.2
    assert open_ports(grace, at(A, 81)) == [81]
