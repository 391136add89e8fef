"""Garbage is collected by the number of events, so that each collection is short."""

import gc
from collections.abc import Iterator

import pytest

from koi_agent.core.events import Event, Started
from koi_agent.host.garbage import PERIOD, Garbage
from tests.unit.things import unit


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """The generations that are collected meanwhile; the interpreter itself collects none."""
    found: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            found.append(info["generation"])

    gc.collect()
    gc.disable()
    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)
    gc.enable()


def test_young_objects_are_collected_after_a_number_of_events(collections: list[int]) -> None:
    event, garbage = a_start(), Garbage()
    garbage.publish([event] * (PERIOD - 1))
    assert collections == []
    garbage.publish([event])
    garbage.publish([event])
    assert collections == [1]
    garbage.publish([event] * 2 * PERIOD)
    assert collections == [1, 1]


def a_start() -> Event:
    return Started(unit("web.service"))
