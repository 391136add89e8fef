"""Looks at the whole: what drifted, what a resync answers, and that all ends at the truth."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.core.errors import BackendLost
from koi_agent.core.events import BackendState, Listing, Seen
from koi_agent.core.instance import Instance
from koi_agent.follow.follower import LIST_TIMEOUT, SECOND_LOOK
from tests.unit.scripted import Following, Runtime, after, at_once, following, never
from tests.unit.test_follow import kinds
from tests.unit.things import unit
from tests.unit.virtual_time import in_virtual_time, run

A, B, C = unit("a.service"), unit("b.service"), unit("c.service")
INTERVAL = 60.0


@in_virtual_time
async def test_look_at_what_is_as_it_was_says_only_that_it_was_taken() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        await asyncio.sleep(10 * INTERVAL)
        assert 9 <= len(runtime.times("list")) <= 12
        assert set(kinds(engine)) == {"Listing"}
        assert engine.drift == 0


@in_virtual_time
async def test_looks_are_not_in_step() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL):
        await asyncio.sleep(10 * INTERVAL)
    looked = runtime.times("list")
    waits = {round(b - a, 3) for a, b in pairwise(looked)}
    assert len(waits) > 1
    assert all(0.9 * INTERVAL <= wait <= 1.1 * INTERVAL for wait in waits)


@in_virtual_time
async def test_difference_that_stays_is_counted_and_mended() -> None:
    runtime = Runtime(A, B)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.truth = {A.id: replace(A, state_detail="x"), C.id: C}
        await asyncio.sleep(2 * INTERVAL)
        assert engine.drift == 3
        assert engine.ids == {"a.service", "c.service"}
        drifted = [one.drifted for one in engine.changes if isinstance(one, Listing)]
        assert frozenset({"a.service", "b.service", "c.service"}) in drifted
        await asyncio.sleep(10 * INTERVAL)
        assert engine.drift == 3


@in_virtual_time
async def test_second_look_comes_soon_after_the_first() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL):
        runtime.truth = {}
        await asyncio.sleep(1.5 * INTERVAL)
    _, first, second = runtime.times("list")
    assert second - first == pytest.approx(SECOND_LOOK)


async def look_then(runtime: Runtime) -> None:
    """Wait until the first periodic look was taken."""
    taken = asyncio.Event()
    runtime.plan["list"].append(at_once(taken.set))
    await taken.wait()
    await asyncio.sleep(0.1)


@in_virtual_time
async def test_difference_that_is_gone_at_the_second_look_is_none() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.truth[B.id] = B
        await look_then(runtime)
        del runtime.truth[B.id]
        await asyncio.sleep(SECOND_LOOK * 2)
        assert engine.drift == 0
        assert engine.ids == {"a.service"}


@in_virtual_time
async def test_difference_whose_event_was_only_late_is_none() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.truth[B.id] = B
        await look_then(runtime)
        runtime.say(Seen(B))
        await asyncio.sleep(SECOND_LOOK * 2)
        assert engine.drift == 0
        assert engine.ids == {"a.service", "b.service"}


@in_virtual_time
async def test_difference_after_an_event_between_the_looks_is_none_yet() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.truth[B.id] = B
        await look_then(runtime)
        runtime.say(Seen(B))
        runtime.truth[B.id] = replace(B, state_detail="newer, and its event is late")
        await asyncio.sleep(SECOND_LOOK * 2)
        assert engine.drift == 0
        assert engine.registry.visible[B.key].state_detail.startswith("newer")


@in_virtual_time
async def test_new_difference_at_the_second_look_is_mended_and_not_counted() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.truth[B.id] = B
        await look_then(runtime)
        runtime.truth[C.id] = C
        await asyncio.sleep(SECOND_LOOK * 2)
        assert engine.drift == 1
        assert engine.ids == {"a.service", "b.service", "c.service"}


@in_virtual_time
async def test_event_while_a_look_is_taken_is_no_difference() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.plan["list"].append(after(1, lambda: runtime.starts(B)))
        await asyncio.sleep(2 * INTERVAL)
        assert engine.drift == 0
        assert [kind for kind in kinds(engine) if kind != "Listing"] == ["Seen"]


@in_virtual_time
async def test_listing_after_a_loss_counts_no_drift() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.truth = {B.id: B}
        runtime.lose()
        await asyncio.sleep(2 * INTERVAL)
        assert engine.drift == 0


@in_virtual_time
async def test_resync_answers_what_was_different_and_mends_it() -> None:
    runtime = Runtime(A, B)
    async with following(runtime) as engine:
        runtime.truth = {A.id: replace(A, state_detail="x"), C.id: C}
        assert await engine.follower.resync() == {
            "a.service": "changed",
            "b.service": "removed",
            "c.service": "added",
        }
        assert await engine.follower.resync() == {}
        assert engine.drift == 0


@in_virtual_time
async def test_resync_of_what_is_not_connected_is_refused() -> None:
    runtime = Runtime(A)
    runtime.plan["list"].append(never)
    async with following(runtime, settled=False) as engine:
        for _ in range(3):
            with pytest.raises(BackendLost):
                await engine.follower.resync()
            await asyncio.sleep(1)


@in_virtual_time
async def test_resync_that_meets_a_loss_fails_and_changes_nothing() -> None:
    runtime = Runtime(A)
    async with following(runtime) as engine:
        runtime.plan["list"].append(after(5))
        runtime.plan["open"].append(after(20))
        resync = asyncio.ensure_future(engine.follower.resync())  # noqa: TID251 - awaited below
        await asyncio.sleep(1)
        runtime.lose()
        with pytest.raises(BackendLost):
            await resync
        assert kinds(engine) == ["Listing", "Lost"]
        assert engine.registry.backends["systemd"].state is BackendState.STALE


@in_virtual_time
async def test_resync_on_a_dead_connection_does_not_hold_up_the_next() -> None:
    runtime = Runtime(A)
    async with following(runtime) as engine:
        runtime.plan["list"].append(never)
        resync = asyncio.ensure_future(engine.follower.resync())  # noqa: TID251 - awaited below
        await asyncio.sleep(1)
        runtime.lose()
        await asyncio.sleep(1)
        assert kinds(engine) == ["Listing", "Lost", "Listing"]
        with pytest.raises(BackendLost):
            await resync


@in_virtual_time
async def test_many_resyncs_list_one_after_the_other() -> None:
    runtime = Runtime(A)
    async with following(runtime) as engine:
        runtime.plan["list"].extend(after(1) for _ in range(5))
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(engine.follower.resync())
        asked = runtime.times("list")[1:]
        assert [round(at - asked[0]) for at in asked] == [0, 1, 2, 3, 4]


names = st.sampled_from(["a.service", "b.service", "c.service"])
acts = st.tuples(st.sampled_from(["start", "stop", "lose", "doubt", "resync"]), names)
pauses = st.sampled_from([0, 0.01, 0.3, 1.0, 5.0])
delays = st.sampled_from([0, 0.02, 0.5, 2.0, LIST_TIMEOUT * 2])


def act(runtime: Runtime, what: str, instance: Instance) -> None:
    """Let something happen to a runtime, if it can."""
    match what:
        case "start":
            runtime.starts(instance)
        case "stop" if instance.id in runtime.truth:
            runtime.stops(runtime.truth[instance.id])
        case "lose" if not runtime.end.done():
            runtime.lose()
        case "doubt":
            runtime.doubts.put_nowait("x")
        case _:
            pass


async def resync(engine: Following) -> None:
    """Have a list taken, if that can be."""
    with suppress(BackendLost):
        await engine.follower.resync()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(acts, pauses), max_size=25), st.lists(delays, max_size=10))
def test_any_life_of_a_runtime_ends_at_the_truth_without_drift(
    life: Sequence[tuple[tuple[str, str], float]], slow: Sequence[float]
) -> None:
    async def scenario() -> None:
        runtime = Runtime(A)
        runtime.plan["list"].extend(after(delay) for delay in slow)
        async with following(runtime, interval=INTERVAL) as engine, asyncio.TaskGroup() as group:
            for number, ((what, name), pause) in enumerate(life):
                act(runtime, what, unit(name, str(number)))
                if what == "resync":
                    group.create_task(resync(engine))
                await asyncio.sleep(pause)
            await asyncio.sleep(20 * LIST_TIMEOUT)
            said = {i.id: i.state_detail for i in engine.registry.visible.values()}
            assert said == {id_: i.state_detail for id_, i in runtime.truth.items()}
            assert not any(i.stale for i in engine.registry.visible.values())
            assert engine.drift == 0
            assert engine.reader.known == engine.registry.visible

    run(scenario())
