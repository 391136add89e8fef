"""What is taken to be there still: whoever comes back soon enough has never left."""

from dataclasses import replace

import pytest

from koi_agent.core.changes import Started, Stopped
from koi_agent.core.grace import Grace
from koi_agent.core.instance import Instance
from tests.unit.things import unit

A, B = unit("a.service"), unit("b.service")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def wanted(grace: Grace, *visible: Instance) -> list[Instance]:
    return list(grace.wanted({instance.key: instance for instance in visible}))


def test_what_stopped_is_wanted_until_the_grace_is_over() -> None:
    clock = Clock()
    grace = Grace(2.0, clock)
    grace.publish([Stopped(A, "exited")])
    clock.now += 1.9
    assert wanted(grace, B) == [A, B]
    clock.now += 0.2
    assert wanted(grace, B) == [B]


def test_what_came_back_is_wanted_as_it_is_now_and_its_next_stop_counts_anew() -> None:
    clock = Clock()
    grace = Grace(2.0, clock)
    new = replace(A, main_pid=7)
    grace.publish([Stopped(A, "exited"), Stopped(B, "exited")])
    clock.now += 1.0
    grace.publish([Started(new)])
    assert wanted(grace, new) == [new, B]
    clock.now += 0.5
    grace.publish([Stopped(new, "exited")])
    clock.now += 1.0
    assert wanted(grace) == [new]


@pytest.mark.parametrize("reason", ["claimed", "removed", "followed no more"])
def test_what_can_not_come_back_leaves_at_once(reason: str) -> None:
    grace = Grace(2.0, Clock())
    grace.publish([Stopped(A, reason)])
    assert wanted(grace) == []


def test_without_grace_nothing_is_kept() -> None:
    grace = Grace(0.0, Clock())
    grace.publish([Stopped(A, "exited")])
    assert wanted(grace) == []


def test_what_is_over_takes_no_room() -> None:
    clock = Clock()
    grace = Grace(2.0, clock)
    for number in range(100):
        grace.publish([Stopped(unit(f"{number}.service"), "exited")])
        clock.now += 0.1
    assert len(grace._left) <= 21
