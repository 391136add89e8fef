"""The follower ends when it is cancelled, and by a bug of the backend."""

import asyncio

import pytest

from tests.unit.scripted import Runtime, after, following, never
from tests.unit.things import unit
from tests.unit.virtual_time import in_virtual_time, run

A = unit("a.service")


@pytest.mark.parametrize("hanging", ["open", "list", "close", None])
def test_follower_ends_whenever_it_is_cancelled(hanging: str | None) -> None:
    async def scenario() -> None:
        runtime = Runtime(A)
        async with following(runtime, settled=False):
            if hanging:
                runtime.plan[hanging].append(after(3))
            await asyncio.sleep(1)
            if hanging == "close":
                runtime.lose()
                await asyncio.sleep(1)
        assert len(runtime.times("open")) == len(runtime.times("close")) == 1

    run(scenario())


@in_virtual_time
async def test_follower_ends_if_it_is_cancelled_during_a_loss() -> None:
    runtime = Runtime(A)

    async def slow_to_end() -> None:
        try:
            await never()
        finally:
            await asyncio.sleep(1)

    async with following(runtime):
        runtime.plan["list"].append(slow_to_end)
        runtime.doubts.put_nowait("x")
        await asyncio.sleep(1)
        runtime.lose()
        await asyncio.sleep(0.5)
    assert len(runtime.times("open")) == 1


@pytest.mark.parametrize("where", ["open", "list", "run", "later list", "close"])
def test_bug_of_a_backend_is_not_swallowed(where: str) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        runtime = Runtime(A)
        if where in ("open", "list"):
            runtime.plan[where].append(fails)
        async with following(runtime, settled=False) as engine:
            await asyncio.sleep(1)
            runtime.plan["close"].extend([fails] if where == "close" else [])
            runtime.plan["list"].extend([fails] if where == "later list" else [])
            if where == "run":
                runtime.fail(ZeroDivisionError())
            if where == "close":
                runtime.lose()
            runtime.doubts.put_nowait("x")
            await asyncio.sleep(1)
        assert not engine.losses

    with pytest.raises((ZeroDivisionError, ExceptionGroup)) as caught:
        run(scenario())
    assert "ZeroDivisionError" in repr(caught.value)
