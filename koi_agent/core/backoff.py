"""Pauses between attempts. They double, and random jitter keeps many agents out of step."""

from collections.abc import Iterator
from random import uniform


def pauses(first: float, longest: float) -> Iterator[float]:
    """Yield pauses in seconds forever: ``first``, doubling up to ``longest``.

    Each is shortened at random by up to half.
    """
    pause = first
    while True:
        yield uniform(pause / 2, pause)  # noqa: S311 - jitter needs no secure randomness
        pause = min(pause * 2, longest)
