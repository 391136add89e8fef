"""How a feed leaves a provider: nothing stays that no session replaces."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from koi_agent.core.contracts import Lasting

T = TypeVar("T")


async def uninterrupted(work: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
    """Run ``work``, which withdraws records when it is cancelled; return its result.

    A reload may cancel it, and the end of the agent a moment later: then the end waits for it.
    ``name`` is that of its task.
    """
    async with asyncio.TaskGroup() as group:  # it cancels its tasks only once
        task = group.create_task(work(), name=name)
    return task.result()


async def leave(provider: object, following: object = None) -> None:
    """Withdraw what a provider keeps without a session, unless ``following`` replaces it."""
    if not isinstance(provider, Lasting):
        return
    if not (isinstance(following, Lasting) and following.place == provider.place):
        await provider.withdraw()
