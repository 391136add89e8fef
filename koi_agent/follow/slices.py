"""Applies the changes of thousands of instances without blocking the event loop."""

import asyncio
from collections.abc import Callable, Iterable

from koi_agent.core.events import Change

SLICE = 50
"""Changes that are applied before the event loop gets its turn: a few milliseconds."""


async def apply_in_slices(apply: Callable[[Change], None], changes: Iterable[Change]) -> None:
    """Apply changes in order, and let other tasks run now and then."""
    for number, change in enumerate(changes, start=1):
        apply(change)
        if number % SLICE == 0:
            await asyncio.sleep(0)
