"""One timer for the deadlines of all units."""

import asyncio
import time

from koi_agent.backends.systemd.deadlines import EARLY, Deadlines, Timer


async def test_timer_that_is_moved_elapses_at_the_earliest_time() -> None:
    timer = Timer()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        waiting = group.create_task(timer.elapsed())
        await asyncio.sleep(0)
        timer.start(time.monotonic() + 3600)
        due = time.monotonic() + 0.01
        timer.start(due)
        timer.start(due + 3600)
        await waiting
    assert time.monotonic() >= due


async def test_timer_that_was_started_before_it_is_waited_for_elapses_once() -> None:
    timer = Timer()
    timer.start(0)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        await timer.elapsed()
        again = group.create_task(timer.elapsed())
        await asyncio.sleep(0.01)
        assert not again.done()
        timer.start(0)
        await again


def test_deadlines_of_a_burst_pass_together() -> None:
    deadlines = Deadlines(100.0, Timer())
    deadlines.add("a")
    deadlines.add("b")
    due = deadlines.next()
    assert deadlines.passed(due) == ["a", "b"]
    assert deadlines.passed(due - 100.0 * EARLY - 1) == []
