"""A log of what may happen thousands of times in a second."""

import logging
import time
from typing import Final

from koi_agent.core.text import printable

log = logging.getLogger(__name__)

MOST: Final = 5
INTERVAL: Final = 60.0
"""Maximum number of log records in an interval of this many seconds. The others are counted."""
LONGEST: Final = 300


class RateLog:
    """Logs a text with a value a few times in an interval, and then the number of the others."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._count = 0
        self._end = 0.0

    def add(self, value: str) -> None:
        """Log a value, or count it."""
        now = time.monotonic()
        if now >= self._end:
            if self._count > MOST:
                log.info(f"{self._text}; %d more were left out", "…", self._count - MOST)  # noqa: G004
            self._count, self._end = 0, now + INTERVAL
        self._count += 1
        if self._count <= MOST:
            log.info(self._text, printable(value, LONGEST))
