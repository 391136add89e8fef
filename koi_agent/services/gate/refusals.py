"""The log of refused requests: a few in each interval, and the number of the others."""

import asyncio
import logging

from koi_agent.services.gate.limits import Limits

log = logging.getLogger(__name__)


class RefusalLog:
    """Logs the first refusals of an interval, and at its end the number of the others.

    A client may send refused requests as fast as it can. They must not fill the journal.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._logged = 0
        self._left_out = 0
        self._end: asyncio.TimerHandle | None = None

    def add(self, reason: str) -> None:
        """Log a refusal, or count it."""
        if self._end is None:
            loop = asyncio.get_running_loop()
            self._end = loop.call_later(self._limits.refusal_interval, self.close)
        if self._logged < self._limits.refusals:
            self._logged += 1
            log.warning("request refused: %s", reason)
        else:
            self._left_out += 1

    def close(self) -> None:
        """End the interval; the next refusal begins another."""
        if self._end:
            self._end.cancel()
            self._end = None
        if self._left_out:
            log.warning("request refused: %d more like this were left out", self._left_out)
        self._logged = self._left_out = 0
