"""How long to wait before trying again: doubling pauses, jittered so that no herd forms."""

from collections.abc import Iterator
from random import uniform


def pauses(first: float, longest: float) -> Iterator[float]:
    """Yield seconds for ever: ``first`` doubling to ``longest``, each shortened by up to half."""
    pause = first
    while True:
        yield uniform(pause / 2, pause)  # noqa: S311 - jitter is no secret
        pause = min(pause * 2, longest)
