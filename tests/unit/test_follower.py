"""The follower opens a session, lists, passes events on, and reconnects after a loss."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.core.events import Absent, BackendState, Gone, Listing, Lost, Seen
from koi_agent.follow.follower import CLOSE_TIMEOUT, LIST_TIMEOUT, OPEN_TIMEOUT, STEADY
from tests.unit.scripted import (
    Following,
    Runtime,
    after,
    at_once,
    failing,
    following,
    never,
)
from tests.unit.things import short_forms, unit
from tests.unit.virtual_time import in_virtual_time, now, run

A, B, C = unit("a.service"), unit("b.service"), unit("c.service")


def kinds(engine: Following) -> list[str]:
    return [type(change).__name__ for change in engine.changes]


@in_virtual_time
async def test_stream_is_opened_before_the_list_is_requested() -> None:
    runtime = Runtime(A)
    async with following(runtime) as engine:
        assert [name for name, _ in runtime.requests] == ["open", "list"]
        assert engine.ids == {"a.service"}


@in_virtual_time
async def test_first_change_is_the_listing_despite_early_events() -> None:
    runtime = Runtime(A)
    runtime.plan["open"].append(at_once(lambda: runtime.starts(B)))
    runtime.plan["list"].append(at_once(lambda: runtime.starts(C)))
    async with following(runtime) as engine:
        assert kinds(engine) == ["Listing", "Seen"]
        assert engine.ids == {"a.service", "b.service", "c.service"}


@in_virtual_time
async def test_list_overrides_an_event_from_before_it() -> None:
    runtime = Runtime(A)
    runtime.plan["open"].append(at_once(lambda: runtime.send(Seen(B))))
    async with following(runtime) as engine:
        assert short_forms(engine.events) == ["+a.service"]


@in_virtual_time
async def test_event_during_the_list_overrides_it() -> None:
    runtime = Runtime(A, B)
    newer = replace(A, state_detail="new")

    def changes() -> None:
        runtime.starts(newer)
        runtime.stops(B)
        runtime.starts(C)

    runtime.plan["list"].append(at_once(changes))
    async with following(runtime) as engine:
        assert short_forms(engine.events) == ["+a.service", "+c.service"]
        (first, *_) = engine.changes
        assert isinstance(first, Listing)
        assert first.touched == {"a.service", "b.service", "c.service"}
        assert engine.registry.visible[A.key].state_detail == "new"


@in_virtual_time
async def test_events_are_passed_on_at_once() -> None:
    runtime = Runtime(A)
    async with following(runtime) as engine:
        runtime.starts(B)
        runtime.stops(A)
        assert short_forms(engine.events) == ["+a.service", "+b.service", "-a.service"]


@in_virtual_time
async def test_doubt_causes_a_list() -> None:
    runtime = Runtime(A)
    async with following(runtime) as engine:
        runtime.truth[B.id] = B
        runtime.doubts.put_nowait("reloaded")
        await asyncio.sleep(1)
        assert engine.ids == {"a.service", "b.service"}
        assert engine.drift == 0
        assert len(runtime.times("list")) == 2


@in_virtual_time
async def test_loss_is_reported_and_the_backend_reconnected() -> None:
    runtime = Runtime(A)
    async with following(runtime) as engine:
        runtime.lose("bus: closed")
        await asyncio.sleep(0)
        await asyncio.sleep(0.04)
        assert engine.losses == ["bus: closed"]
        assert engine.registry.backends["systemd"].state is BackendState.STALE
        runtime.truth = {B.id: B}
        await asyncio.sleep(1)
        assert kinds(engine) == ["Listing", "Lost", "Listing"]
        assert engine.ids == {"b.service"}


@in_virtual_time
async def test_early_events_wait_for_the_list_after_a_loss_too() -> None:
    runtime = Runtime(A)
    async with following(runtime) as engine:
        runtime.plan["list"].append(at_once(lambda: runtime.starts(B)))
        runtime.lose()
        await asyncio.sleep(1)
        assert kinds(engine) == ["Listing", "Lost", "Listing", "Seen"]


@in_virtual_time
async def test_absent_runtime_is_reported_and_found_when_it_appears() -> None:
    runtime = Runtime(A)
    runtime.plan["open"].extend(failing(BackendAbsent("no socket")) for _ in range(3))
    async with following(runtime) as engine:
        assert engine.changes == [Absent(backend="systemd", reason="no socket")]
        await asyncio.sleep(2)
        assert engine.ids == {"a.service"}


@in_virtual_time
async def test_pauses_between_attempts_grow_with_jitter_to_a_limit() -> None:
    runtime = Runtime()
    runtime.plan["open"].extend(failing(BackendLost("refused")) for _ in range(15))
    async with following(runtime):
        await asyncio.sleep(400)
    opened = runtime.times("open")
    waits = [later - earlier for earlier, later in pairwise(opened)]
    for number, wait in enumerate(waits):
        longest = min(0.1 * 2**number, 30)
        assert longest / 2 - 1e-6 <= wait <= longest + 1e-6
    assert len({round(wait, 6) for wait in waits[10:]}) > 1


@in_virtual_time
async def test_first_attempt_after_a_loss_is_soon_even_after_many_failures() -> None:
    runtime = Runtime(A)
    runtime.plan["open"].extend(failing(BackendLost("refused")) for _ in range(12))
    async with following(runtime) as engine:
        await asyncio.sleep(300)
        assert engine.ids
        runtime.lose()
        await asyncio.sleep(0.2)
        assert kinds(engine)[-2:] == ["Lost", "Listing"]


@in_virtual_time
async def test_repeated_losses_lengthen_the_pause() -> None:
    runtime = Runtime(A)
    async with following(runtime):
        for _ in range(600):
            if not runtime.end.done():
                runtime.lose()
            await asyncio.sleep(0.1)
    assert len(runtime.times("open")) < 60 + 10


@in_virtual_time
async def test_loss_of_a_long_session_is_followed_by_an_immediate_attempt() -> None:
    runtime = Runtime(A)
    async with following(runtime):
        for _ in range(20):
            lost = now()
            runtime.lose()
            await asyncio.sleep(STEADY + 5)
            assert runtime.times("open")[-1] - lost <= 0.4


@in_virtual_time
async def test_time_to_connect_does_not_count_as_duration_of_the_session() -> None:
    runtime = Runtime(A)
    runtime.plan["open"].extend(after(OPEN_TIMEOUT - 1) for _ in range(12))
    async with following(runtime):
        for _ in range(12):
            if not runtime.end.done() and runtime.times("list"):
                runtime.lose()
            await asyncio.sleep(OPEN_TIMEOUT + 4)
    closed, opened = runtime.times("close"), runtime.times("open")
    assert opened[-1] - closed[len(opened) - 2] > 0.5


@in_virtual_time
async def test_connecting_has_a_timeout() -> None:
    runtime = Runtime(A)
    runtime.plan["open"].append(never)
    async with following(runtime) as engine:
        assert runtime.times("close")[0] - runtime.times("open")[0] == pytest.approx(OPEN_TIMEOUT)
        assert isinstance(engine.changes[0], Lost)
        await asyncio.sleep(1)
        assert engine.ids == {"a.service"}


@in_virtual_time
async def test_listing_has_a_timeout() -> None:
    runtime = Runtime(A)
    runtime.plan["list"].append(never)
    async with following(runtime) as engine:
        assert runtime.times("close")[0] - runtime.times("list")[0] == pytest.approx(LIST_TIMEOUT)
        assert engine.losses == ["no list within 60 s"]
        await asyncio.sleep(1)
        assert engine.ids == {"a.service"}


@in_virtual_time
async def test_closing_has_a_timeout() -> None:
    runtime = Runtime(A)
    runtime.plan["close"].append(never)
    async with following(runtime) as engine:
        runtime.lose()
        await asyncio.sleep(CLOSE_TIMEOUT + 1)
        assert kinds(engine) == ["Listing", "Lost", "Listing"]


@in_virtual_time
async def test_open_session_has_no_timeout() -> None:
    runtime = Runtime(A)
    async with following(runtime) as engine:
        await asyncio.sleep(10 * (OPEN_TIMEOUT + LIST_TIMEOUT))
        assert kinds(engine) == ["Listing"]


@in_virtual_time
async def test_failed_list_is_a_loss() -> None:
    runtime = Runtime(A)
    runtime.plan["list"].append(failing(BackendLost("refused")))
    async with following(runtime) as engine:
        assert engine.losses == ["refused"]
        assert engine.registry.backends["systemd"].state is BackendState.FAILED


@in_virtual_time
async def test_absent_runtime_does_not_delay_the_start() -> None:
    runtime = Runtime()
    runtime.plan["open"].append(failing(BackendAbsent("no socket")))
    async with following(runtime, settled=False) as engine:
        assert not engine.follower.settled.is_set()
        await asyncio.sleep(0.01)
        assert engine.follower.settled.is_set()


@in_virtual_time
async def test_events_of_a_gone_backend_reach_the_registry_once() -> None:
    runtime = Runtime(A)
    async with following(runtime) as engine:
        runtime.stops(A)
        runtime.send(Gone(backend="systemd", id=A.id, reason="again"))
        assert short_forms(engine.events) == ["+a.service", "-a.service"]


@in_virtual_time
async def test_arrival_of_a_runtime_causes_an_immediate_attempt() -> None:
    runtime = Runtime(A)
    runtime.plan["open"].extend(failing(BackendAbsent("no socket")) for _ in range(50))
    async with following(runtime, settled=False) as engine:
        await asyncio.sleep(120)
        runtime.plan["open"].clear()
        tried, arrived = len(runtime.times("open")), now()
        runtime.arrived.set()
        await asyncio.sleep(0.2)
        assert len(runtime.times("open")) == tried + 1
        assert runtime.times("open")[-1] - arrived <= 0.1
        assert engine.ids == {"a.service"}


@in_virtual_time
async def test_an_absent_runtime_is_looked_for_as_rarely_as_a_present_one_is_listed() -> None:
    interval = 600.0
    runtime = Runtime()
    runtime.plan["open"].extend(failing(BackendAbsent("no socket")) for _ in range(100))
    async with following(runtime, interval=interval):
        await asyncio.sleep(10 * interval)
    opened = runtime.times("open")
    waits = [later - earlier for earlier, later in pairwise(opened)]
    assert all(interval / 2 <= wait <= interval for wait in waits[-5:])


@in_virtual_time
async def test_repeated_arrivals_do_not_cause_a_busy_loop() -> None:
    runtime = Runtime(A)
    runtime.plan["open"].extend(failing(BackendLost("refused")) for _ in range(1000))
    runtime.arrived.set()
    async with following(runtime, settled=False):
        await asyncio.sleep(10)
        assert 2 < len(runtime.times("open")) <= 200


@in_virtual_time
async def test_many_differences_of_a_list_are_applied_in_slices_before_it() -> None:
    units = [unit(f"{number}.service") for number in range(120)]
    runtime = Runtime(*units)
    async with following(runtime) as engine:
        assert kinds(engine) == ["Seen"] * 120 + ["Listing"]
        assert engine.ids == {one.id for one in units}
        runtime.truth.clear()
        runtime.doubts.put_nowait("all of it")
        await asyncio.sleep(1)
        assert kinds(engine)[121:] == ["Gone"] * 120 + ["Listing"]
        assert engine.ids == set()
        assert engine.drift == 0


@in_virtual_time
async def test_many_instances_are_outdated_in_slices_before_a_loss_and_seen_after_it() -> None:
    units = [unit(f"{number}.service") for number in range(120)]
    runtime = Runtime(*units)
    async with following(runtime) as engine:
        runtime.lose()
        await asyncio.sleep(5)
        assert kinds(engine)[121:] == [*["Outdated"] * 120, "Lost", *["Seen"] * 120, "Listing"]
        assert not any(one.stale for one in engine.registry.visible.values())


@in_virtual_time
async def test_other_tasks_run_while_thousands_of_instances_are_outdated() -> None:
    runtime = Runtime(*(unit(f"{number}.service") for number in range(1000)))
    async with following(runtime) as engine:
        runtime.lose()
        seen: set[int] = set()
        while engine.registry.backends["systemd"].state is BackendState.SYNCED:
            await asyncio.sleep(0)
            seen.add(sum(one.stale for one in engine.registry.visible.values()))
        assert max(b - a for a, b in pairwise(sorted(seen))) <= 50
        assert max(seen) == 1000


def test_repeated_reason_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        runtime = Runtime(A)
        runtime.plan["open"].extend(failing(BackendLost("permission denied")) for _ in range(3))
        runtime.plan["open"].append(failing(BackendLost("refused")))
        async with following(runtime):
            await asyncio.sleep(10)

    run(scenario())
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warnings == [
        "systemd: permission denied; trying again",
        "systemd: refused; trying again",
    ]
