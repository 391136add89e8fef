"""Pauses between attempts to connect to a backend."""

from collections.abc import Callable, Iterator
from typing import Final

from koi_agent.core.backoff import pauses

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 30.0
"""Seconds between attempts to connect."""
LONGEST_RETURN: Final = 2.0
"""Seconds from a loss to the first attempt, even if the backend was lost several times recently."""


def attempt_pauses(is_absent: Callable[[], bool], interval: float) -> Iterator[float]:
    """Yield pauses in seconds forever, by whether the backend is absent now.

    The arrival of an absent backend is watched, so attempts become as rare as full lists:
    ``interval`` has the seconds between these.
    """
    usual = pauses(FIRST_PAUSE, LONGEST_PAUSE)
    rare = pauses(FIRST_PAUSE, max(LONGEST_PAUSE, interval))
    while True:
        pause, rare_pause = next(usual), next(rare)
        yield rare_pause if is_absent() else pause
