"""Work whose end is not cut short: it is cancelled once, however often its caller is."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uninterrupted(work: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
    """Run ``work``, which withdraws records when it is cancelled; return its result.

    A reload may cancel it, and the end of the agent a moment later: then the end waits for it.
    ``name`` is that of its task.
    """
    async with asyncio.TaskGroup() as group:  # it cancels its tasks only once
        task = group.create_task(work(), name=name)
    return task.result()
