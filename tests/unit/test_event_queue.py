"""A slow reader of a bounded queue ends with the current state."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.event_queue import EventQueue
from koi_agent.core.events import (
    BackendAdded,
    BackendDisconnected,
    BackendReconnected,
    BackendRemoved,
    BackendState,
    BackendStatus,
    BackendUpdated,
    Change,
    Event,
    Lost,
    Seen,
    Started,
    Stopped,
    Updated,
)
from koi_agent.core.instance import Instance
from koi_agent.core.registry import Registry
from tests.unit.things import Reader, container, gone, listing, short_forms, unit

A, B = unit("a"), unit("b")
A2, A3 = replace(A, state_detail="2"), replace(A, state_detail="3")


def drained(queue: EventQueue) -> list[Event]:
    return [queue.take() for _ in range(len(queue))]


def compacted(*events: Event) -> tuple[list[Event], int]:
    queue = EventQueue(capacity=0)
    queue.put(events)
    return drained(queue), queue.dropped


def test_events_come_out_in_order() -> None:
    queue = EventQueue()
    events: list[Event] = [Started(A), Started(B), Updated(A, A2), Stopped(A2, "x"), Started(A)]
    queue.put(events)
    assert drained(queue) == events
    assert queue.known == {A.key: A, B.key: B}


def test_taking_from_an_empty_queue_raises_an_error() -> None:
    with pytest.raises(IndexError):
        EventQueue().take()


def test_full_queue_keeps_the_last_of_an_instances_updates() -> None:
    assert compacted(Updated(A, A2), Started(B), Updated(A2, A3)) == (
        [Updated(A, A3), Started(B)],
        0,
    )


def test_full_queue_drops_and_counts_an_instance_that_started_and_stopped() -> None:
    events: list[Event] = [Started(A), Updated(A, A2), Started(B), Stopped(A2, "x")]
    assert compacted(*events) == ([Started(B)], 1)


def test_full_queue_keeps_the_end_of_an_instance_that_was_delivered() -> None:
    events: list[Event] = [
        Updated(A, A2),
        Stopped(A2, "x"),
        Started(A),
        Stopped(A, "x"),
        Started(A),
    ]
    assert compacted(*events) == ([Updated(A, A2), Stopped(A2, "x"), Started(A)], 1)


def test_full_queue_joins_updates_of_a_backend() -> None:
    one, two, three = (BackendStatus(name="podman", kind="podman", instances=n) for n in range(3))
    other = BackendUpdated(replace(one, name="x"), replace(two, name="x"))
    assert compacted(BackendUpdated(one, two), other, BackendUpdated(two, three)) == (
        [other, BackendUpdated(one, three)],
        0,
    )


def test_full_queue_does_not_join_updates_across_the_removal_of_a_backend() -> None:
    one, two = (
        BackendStatus(name="podman", kind="podman"),
        BackendStatus(name="podman", kind="podman", drift=1),
    )
    events = (
        BackendUpdated(one, two),
        BackendRemoved("podman"),
        BackendAdded(one),
        BackendUpdated(one, two),
    )
    assert compacted(*events) == (list(events), 0)


def test_full_queue_drops_a_disconnection_that_has_ended() -> None:
    away, back = BackendDisconnected("podman", "x"), BackendReconnected("podman")
    assert compacted(away, back) == ([], 1)
    assert compacted(back, away) == ([back, away], 0)
    assert compacted(back, away, BackendDisconnected("systemd", "x"), back) == (
        [back, BackendDisconnected("systemd", "x")],
        1,
    )


def test_length_is_bounded_for_a_backend_that_reconnects_often() -> None:
    queue = EventQueue(capacity=10)
    for _ in range(1000):
        queue.put([BackendDisconnected("podman", "x"), BackendReconnected("podman")])
    assert len(queue) <= 10


def test_length_is_bounded_again_after_a_long_queue_was_read() -> None:
    queue = EventQueue(capacity=10)
    queue.put([Started(unit(str(n))) for n in range(100)])
    drained(queue)
    for _ in range(100):
        queue.put([Updated(A, A2), Updated(A2, A)])
        assert len(queue) <= 10


def test_reset_drops_queued_events() -> None:
    queue = EventQueue(capacity=2)
    queue.put([Started(A)])
    queue.reset({B.key: B})
    assert len(queue) == 0
    assert queue.known == {B.key: B}


def test_compaction_is_rare() -> None:
    queue = EventQueue(capacity=10)
    queue.put([Started(unit(str(n))) for n in range(100)])
    lengths = []
    for _ in range(150):
        queue.put([Updated(A, A2)])
        lengths.append(len(queue))
    assert sum(later < earlier for earlier, later in pairwise(lengths)) == 1


instances = st.one_of(
    st.builds(unit, st.sampled_from("ab"), st.sampled_from("xy")),
    st.builds(
        container, st.sampled_from("cd"), st.sampled_from("xy"), claims=st.sampled_from("ab")
    ),
)
changes = st.one_of(
    instances.map(Seen),
    instances.map(gone),
    st.just(Lost(backend="podman", reason="x")),
    st.lists(instances.filter(lambda i: i.backend == "podman"), max_size=2).map(
        lambda listed: listing("podman", *listed)
    ),
)
steps = st.lists(st.tuples(changes, st.integers(0, 3)), max_size=60)


@given(steps, st.integers(0, 8), st.integers(0, 20))
def test_reader_at_any_speed_ends_with_the_current_state(
    script: Sequence[tuple[Change, int]], capacity: int, reset_at: int
) -> None:
    registry, queue = Registry({"systemd": "systemd", "podman": "podman"}), EventQueue(capacity)
    reader, status = Reader(), dict(registry.backends)
    away = False

    def take() -> None:
        nonlocal away
        event = queue.take()
        reader.read([event])
        assert queue.known == reader.known
        match event:
            case BackendUpdated(old, new):
                assert status[old.name] == old
                status[new.name] = new
            case BackendDisconnected() | BackendReconnected():
                assert away is isinstance(event, BackendReconnected)
                away = not away
            case _:
                pass

    for number, (change, taken) in enumerate(script):
        queue.put(registry.apply(change, number + 1))
        assert len(queue) <= max(capacity, 2 * (4 * 4 + 2 * 3))
        for _ in range(min(taken, len(queue))):
            take()
        if number == reset_at:
            queue.reset(registry.visible)
            reader, status = Reader(registry.visible), dict(registry.backends)
            away = status["podman"].state is BackendState.STALE
    while queue:
        take()
    assert reader.known == registry.visible
    assert status == registry.backends
    assert away is (registry.backends["podman"].state is BackendState.STALE)


@given(st.lists(st.lists(instances, max_size=5), max_size=20))
def test_dropped_counts_the_pairs_that_were_not_delivered(
    rounds: Sequence[Sequence[Instance]],
) -> None:
    registry, queue, plain = (
        Registry({"systemd": "systemd", "podman": "podman"}),
        EventQueue(3),
        list[Event](),
    )
    for instances_ in rounds:
        for one in instances_:
            for change in (Seen(one), gone(one)):
                events = registry.apply(change, 1)
                plain += events
                queue.put(events)
    left = drained(queue)
    starts = sum(event.startswith("+") for event in short_forms(plain))
    assert queue.dropped == starts - sum(event.startswith("+") for event in short_forms(left))
