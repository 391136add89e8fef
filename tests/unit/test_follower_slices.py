"""Thousands of instances: events and losses while a list is compared or applied count."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from koi_agent.core.errors import BackendLost
from koi_agent.core.events import BackendState, Change, Seen
from koi_agent.follow.slices import COMPARED
from tests.unit.scripted import Following, Runtime, after, at_once, following
from tests.unit.things import unit
from tests.unit.virtual_time import in_virtual_time

MANY = COMPARED + 100
INTERVAL = 60.0


def loses_at(runtime: Runtime, engine: Following, number: int) -> Callable[[Change], None]:
    """Return a function for each change, which ends the session at a numbered ``Seen``."""
    seen = 0

    def count(change: Change) -> None:
        nonlocal seen
        seen += isinstance(change, Seen)
        if isinstance(change, Seen) and seen == number:
            runtime.lose("again")

    return count


@in_virtual_time
async def test_an_end_counts_that_comes_while_a_periodic_list_is_compared() -> None:
    runtime = Runtime(*[unit(f"u{number}.service") for number in range(MANY)])
    async with following(runtime, interval=INTERVAL) as engine:
        loop = asyncio.get_running_loop()

        def stop_one() -> None:
            runtime.stops(next(iter(runtime.truth.values())))

        async def stop_soon() -> None:
            loop.call_soon(stop_one)  # when the first instances have been compared

        for _ in range(10):
            runtime.plan["list"].append(stop_soon)
            await asyncio.sleep(1.5 * INTERVAL)
            assert engine.ids == runtime.truth.keys()


@in_virtual_time
async def test_all_instances_are_stale_after_a_loss_within_the_first_list() -> None:
    runtime = Runtime(*[unit(f"u{number}.service") for number in range(300)])
    async with following(runtime) as engine:
        engine.on_change = loses_at(runtime, engine, 120)
        runtime.lose()
        runtime.plan["open"] += [at_once(lambda: None), after(1000)]
        await asyncio.sleep(20)
        assert engine.registry.backends["systemd"].state is BackendState.STALE
        assert all(one.stale for one in engine.registry.visible.values())


@in_virtual_time
async def test_all_instances_are_stale_after_a_loss_within_a_resync() -> None:
    runtime = Runtime(unit("a.service"))
    async with following(runtime) as engine:
        runtime.truth |= {one.id: one for one in [unit(f"u{n}.service") for n in range(1000)]}
        engine.on_change = loses_at(runtime, engine, 60)
        runtime.plan["open"].append(after(1000))
        with suppress(BackendLost):
            await engine.follower.resync()
        await asyncio.sleep(20)
        assert engine.registry.backends["systemd"].state is BackendState.STALE
        assert all(one.stale for one in engine.registry.visible.values())


@in_virtual_time
async def test_a_list_follows_one_that_has_failed() -> None:
    runtime = Runtime(unit("a.service"))

    async def fail() -> None:
        raise BackendLost("no answer")

    async with following(runtime) as engine:
        runtime.truth["b.service"] = unit("b.service")  # without an event
        runtime.plan["list"].append(fail)
        with suppress(BackendLost):
            await engine.follower.resync()
        await asyncio.sleep(1)
        assert engine.ids == {"a.service", "b.service"}
        assert engine.losses == []
