"""Decides when a failed entry is sent again."""

import asyncio

from koi_agent.core.backoff import pauses

FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
"""Seconds until an entry that was refused is sent again."""


class Trial:
    """A key that failed; ``due`` is the time at which it is tried again."""

    def __init__(self) -> None:
        self.due = 0.0
        self._waits = pauses(FIRST_RETRY, LONGEST_RETRY)

    def fail(self) -> None:
        """Set the time of the next attempt, unless one is scheduled."""
        if self.due <= (now := asyncio.get_running_loop().time()):
            self.due = now + next(self._waits)
