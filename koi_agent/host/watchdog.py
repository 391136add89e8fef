"""Tells systemd that we live, for as long as we do (WatchdogSec=, sd_watchdog_enabled(3)).

A loop that stands still sends nothing, which is the point; what stands still while the loop
runs on is found by the check. systemd then ends us, and starts us again, within one period
of the last ping.
"""

import asyncio
import logging
import os
from collections.abc import Callable, MutableMapping
from typing import Final

from koi_agent.core.message_ids import MessageId, journal_fields
from koi_agent.core.text import printable
from koi_agent.host.notify import Notifier

log = logging.getLogger(__name__)

_FOREVER: Final = 2**64 - 1
"""systemd's infinity, in microseconds."""


class Watchdog:
    """Pings every half ``period`` (seconds; ``None``: nobody waits for pings).

    ``check`` tells what is stuck, or nothing; a ping is sent only where it is nothing.
    """

    def __init__(self, notifier: Notifier, period: float | None, check: Callable[[], str]) -> None:
        self._notifier = notifier
        self._period = period
        self._check = check
        self._stuck = ""

    async def run(self) -> None:
        """Ping for ever; returns at once where nobody waits for it."""
        if self._period is None:
            return
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._note(self._check(), self._period)
            if not self._stuck:
                self._notifier.alive()
            # Half a period on, systemd is about to act: what is stuck is looked at more often,
            # so that what gets well again in time is seen in time.
            pause = self._period / (20 if self._stuck else 2)
            due = due + pause if due + pause > loop.time() else loop.time() + pause
            await asyncio.sleep(due - loop.time())

    def _note(self, stuck: str, period: float) -> None:
        if stuck and stuck != self._stuck:
            log.error(
                "stuck: %s; systemd gets no ping until that is over, and restarts the agent"
                " %g s after the last one",
                stuck,
                period,
                extra=journal_fields(MessageId.WATCHDOG_WITHHELD),
            )
        if self._stuck and not stuck:
            log.warning("no longer stuck: %s", self._stuck)
        self._stuck = stuck


def interval(environment: MutableMapping[str, str]) -> float | None:
    """Take the seconds within which systemd wants a ping out of the environment.

    ``None`` where it wants none of this process. A value that can't be read is warned of.
    """
    period = environment.pop("WATCHDOG_USEC", "")
    pid = environment.pop("WATCHDOG_PID", "")
    if not period:
        return None
    microseconds = _number(period)
    if not microseconds or microseconds == _FOREVER:
        log.warning("WATCHDOG_USEC=%s: no time span, so no pings", printable(period, 64))
        return None
    if pid and (process := _number(pid)) != os.getpid():
        if process is not None:
            return None
        # A ping too many does no harm, one missing would.
        log.warning("WATCHDOG_PID=%s: no process number, taken for ours", printable(pid, 64))
    return microseconds / 1e6


def _number(text: str) -> int | None:
    """Read an unsigned number of 64 bits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        return None
    number = int(text)
    return number if number <= _FOREVER else None
