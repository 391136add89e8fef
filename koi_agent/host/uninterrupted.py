"""Work that a second cancellation does not interrupt."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uninterrupted(work: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
    """Run ``work`` in a task of this name, and return its result.

    The first cancellation cancels it. A second one waits until it has ended. ``work`` raises
    nothing: before Python 3.13, a group with a task that fails can lose a cancellation.
    """
    async with asyncio.TaskGroup() as group:  # it cancels its tasks only once
        task = group.create_task(work(), name=name)
    return task.result()
