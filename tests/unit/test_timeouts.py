"""Time limits in tasks that are cancelled, with this Python and with that of the distribution."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from koi_agent.timeouts import Timeout, set_before, set_within, timeout, timeout_at
from tests.namespaces import CHECKOUT

CLEANUP = """\
import asyncio
import sys

if sys.version_info < (3, 11):
    raise SystemExit("too old")

from koi_agent.timeouts import set_within, timeout

steps = []

async def work():
    try:
        await asyncio.Event().wait()
    finally:
        try:
            async with timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            steps.append("limit")
        steps.append(await set_within(asyncio.Event(), 0.01))

async def main():
    task = asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    print(steps, task.cancelled())

asyncio.run(main())
"""


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_limit_in_a_cancelled_task_does_not_cut_off_its_end(python: str) -> None:
    if not Path(python).exists():
        pytest.skip(f"there is no {python}")
    command = [python, "-c", CLEANUP]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "too old" in done.stderr:
        pytest.skip(f"{python} is older than 3.11")
    assert done.stdout == "['limit', False] True\n", done.stderr


async def in_cancelled_task(end: Callable[[], Awaitable[object]]) -> object:
    """Return the result of what a task does when it is cancelled, or its error."""
    results: list[object] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            try:
                results.append(await end())
            except (TimeoutError, asyncio.CancelledError) as error:
                results.append(type(error))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(work(), name="cancelled")
        await asyncio.sleep(0)
        task.cancel()
    return results[0]


async def forever() -> None:
    await asyncio.Event().wait()


async def test_second_cancellation_in_the_block_is_a_cancellation() -> None:
    async def end() -> None:
        current = asyncio.current_task()
        assert current
        async with timeout(60):
            asyncio.get_running_loop().call_soon(current.cancel)
            await forever()

    assert await in_cancelled_task(end) is asyncio.CancelledError


async def test_cancellation_at_the_same_moment_as_the_limit_is_a_cancellation() -> None:
    async def end() -> None:
        current = asyncio.current_task()
        assert current
        loop = asyncio.get_running_loop()

        def cancel_both() -> None:
            limit.reschedule(loop.time())
            loop.call_soon(current.cancel)

        async with timeout_at(None) as limit:
            loop.call_soon(cancel_both)
            await forever()

    assert await in_cancelled_task(end) is asyncio.CancelledError


async def test_outer_limit_ends_the_inner_block() -> None:
    seen: list[Timeout] = []

    async def end() -> None:
        async with timeout(0.01) as outer, timeout(60) as inner:
            seen.extend((outer, inner))
            await forever()

    assert await in_cancelled_task(end) is TimeoutError
    assert [one.expired() for one in seen] == [True, False]


async def test_limit_can_be_moved_and_removed() -> None:
    async with timeout(0.01) as limit:
        limit.reschedule(None)
        await asyncio.sleep(0.03)
    assert not limit.expired()
    with suppress(TimeoutError):
        async with timeout(None) as limit:
            limit.reschedule(asyncio.get_running_loop().time())
            await forever()
    assert limit.expired()


async def test_errors_of_the_block_are_raised() -> None:
    with pytest.raises(ValueError, match="own"):
        async with timeout(60):
            raise ValueError("own")
    with suppress(TimeoutError):
        async with timeout(60) as limit:
            raise TimeoutError
    assert not limit.expired()


async def test_event_is_waited_for() -> None:
    event = asyncio.Event()
    assert not await set_within(event, 0.01)
    assert not await set_before(event, asyncio.get_running_loop().time())
    asyncio.get_running_loop().call_soon(event.set)
    assert await set_within(event, None)
    assert await set_before(event, None)


def test_all_limits_of_the_agent_are_these() -> None:
    using = {
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / "koi_agent").rglob("*.py")
        if re.search(r"\basyncio\.(timeout|Timeout)|from asyncio import.*timeout", path.read_text())
    }
    assert using == {"koi_agent/timeouts.py"}
