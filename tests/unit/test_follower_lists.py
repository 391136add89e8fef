"""Periodic lists, drift and resync; every history ends with the true state."""

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
from tests.unit.test_follower import kinds
from tests.unit.things import unit
from tests.unit.virtual_time import in_virtual_time, run

A, B, C = unit("a.service"), unit("b.service"), unit("c.service")
INTERVAL = 60.0


@in_virtual_time
async def test_periodic_list_without_differences_is_only_a_listing() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        await asyncio.sleep(10 * INTERVAL)
        assert 9 <= len(runtime.times("list")) <= 12
        assert set(kinds(engine)) == {"Listing"}
        assert engine.drift == 0


@in_virtual_time
async def test_periodic_lists_have_jitter() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL):
        await asyncio.sleep(10 * INTERVAL)
    listed = runtime.times("list")
    waits = {round(b - a, 3) for a, b in pairwise(listed)}
    assert len(waits) > 1
    assert all(0.9 * INTERVAL <= wait <= 1.1 * INTERVAL for wait in waits)


@in_virtual_time
async def test_lasting_difference_is_counted_and_repaired() -> None:
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
async def test_second_list_comes_soon_after_the_first() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL):
        runtime.truth = {}
        await asyncio.sleep(1.5 * INTERVAL)
    _, first, second = runtime.times("list")
    assert second - first == pytest.approx(SECOND_LOOK)


async def await_periodic_list(runtime: Runtime) -> None:
    """Wait until the first periodic list has ended."""
    taken = asyncio.Event()
    runtime.plan["list"].append(at_once(taken.set))
    await taken.wait()
    await asyncio.sleep(0.1)


@in_virtual_time
async def test_difference_that_is_gone_at_the_second_list_is_not_counted() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.truth[B.id] = B
        await await_periodic_list(runtime)
        del runtime.truth[B.id]
        await asyncio.sleep(SECOND_LOOK * 2)
        assert engine.drift == 0
        assert engine.ids == {"a.service"}


@in_virtual_time
async def test_difference_with_a_late_event_is_not_counted() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.truth[B.id] = B
        await await_periodic_list(runtime)
        runtime.send(Seen(B))
        await asyncio.sleep(SECOND_LOOK * 2)
        assert engine.drift == 0
        assert engine.ids == {"a.service", "b.service"}


@in_virtual_time
async def test_difference_after_an_event_between_the_lists_is_not_counted() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.truth[B.id] = B
        await await_periodic_list(runtime)
        runtime.send(Seen(B))
        runtime.truth[B.id] = replace(B, state_detail="newer, and its event is late")
        await asyncio.sleep(SECOND_LOOK * 2)
        assert engine.drift == 0
        assert engine.registry.visible[B.key].state_detail.startswith("newer")


@in_virtual_time
async def test_new_difference_at_the_second_list_is_repaired_and_not_counted() -> None:
    runtime = Runtime(A)
    async with following(runtime, interval=INTERVAL) as engine:
        runtime.truth[B.id] = B
        await await_periodic_list(runtime)
        runtime.truth[C.id] = C
        await asyncio.sleep(SECOND_LOOK * 2)
        assert engine.drift == 1
        assert engine.ids == {"a.service", "b.service", "c.service"}


@in_virtual_time
async def test_event_during_a_list_is_not_a_difference() -> None:
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
async def test_resync_returns_and_repairs_the_differences() -> None:
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
async def test_resync_without_a_connection_is_refused() -> None:
    runtime = Runtime(A)
    runtime.plan["list"].append(never)
    async with following(runtime, settled=False) as engine:
        for _ in range(3):
            with pytest.raises(BackendLost):
                await engine.follower.resync()
            await asyncio.sleep(1)


@in_virtual_time
async def test_resync_during_a_loss_fails_and_changes_nothing() -> None:
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
async def test_resync_on_a_lost_connection_does_not_delay_the_next() -> None:
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
async def test_resyncs_list_one_after_another() -> None:
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
    """Apply an action to a runtime, if it is possible."""
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
    """Request a list, if the backend is connected."""
    with suppress(BackendLost):
        await engine.follower.resync()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(acts, pauses), max_size=25), st.lists(delays, max_size=10))
def test_any_history_ends_with_the_true_state_and_without_drift(
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
            known = {i.id: i.state_detail for i in engine.registry.visible.values()}
            assert known == {id_: i.state_detail for id_, i in runtime.truth.items()}
            assert not any(i.stale for i in engine.registry.visible.values())
            assert engine.drift == 0
            assert engine.reader.known == engine.registry.visible

    run(scenario())
