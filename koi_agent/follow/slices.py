"""Compares and changes thousands of instances without blocking the event loop."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from koi_agent.core.events import Change, Gone, Listing, Seen

COMPARED = 500
"""Listed instances that are compared before the event loop gets its turn."""
SLICE = 50
"""Changes that are applied before the event loop gets its turn: a few milliseconds."""


async def different_ids(differences: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the ids with a difference, and let other tasks run now and then."""
    different: dict[str, str] = {}
    for number, (id_, difference) in enumerate(differences, start=1):
        if difference:
            different[id_] = difference
        if number % COMPARED == 0:
            await asyncio.sleep(0)
    return different


def changes_of(
    listing: Listing, different: Mapping[str, str], *, is_first: bool
) -> list[Seen | Gone]:
    """Return the changes that a list makes.

    With ``is_first``, everything known may be stale since a loss, so that all instances change.
    """
    changes: list[Seen | Gone] = [
        Seen(one) for one in listing.instances if is_first or one.id in different
    ]
    for id_, difference in different.items():
        if difference == "removed":
            changes.append(Gone(backend=listing.backend, id=id_, reason="not listed"))
    return changes


async def apply_in_slices(apply: Callable[[Change], None], changes: Iterable[Change]) -> None:
    """Apply changes in order, and let other tasks run now and then."""
    for number, change in enumerate(changes, start=1):
        apply(change)
        if number % SLICE == 0:
            await asyncio.sleep(0)
