"""Sends keep-alive pings to systemd (WatchdogSec=, sd_watchdog_enabled(3)).

An event loop that is blocked sends none. A check finds what is stuck while the loop runs. Without
a ping for one period, systemd kills the agent and starts it again.
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
    """Pings every half ``period``, in seconds; None if systemd expects no pings.

    ``check`` returns what is stuck, or "". A ping is sent only if nothing is.
    """

    def __init__(self, notifier: Notifier, period: float | None, check: Callable[[], str]) -> None:
        self._notifier = notifier
        self._period = period
        self._check = check
        self._stuck = ""

    async def run(self) -> None:
        """Ping forever; returns at once if systemd expects no pings."""
        if self._period is None:
            return
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._update(self._check(), self._period)
            if not self._stuck:
                self._notifier.alive()
            # While something is stuck, systemd will act after half a period more. More frequent
            # checks then notice a recovery in time.
            pause = self._period / (20 if self._stuck else 2)
            due = due + pause if due + pause > loop.time() else loop.time() + pause
            await asyncio.sleep(due - loop.time())

    def _update(self, stuck: str, period: float) -> None:
        if stuck and stuck != self._stuck:
            log.error(
                "stuck: %s; systemd gets no watchdog ping and restarts the agent %g s after the"
                " last one",
                stuck,
                period,
                extra=journal_fields(MessageId.WATCHDOG_WITHHELD),
            )
        if self._stuck and not stuck:
            log.warning("no longer stuck: %s", self._stuck)
        self._stuck = stuck


def interval(environment: MutableMapping[str, str]) -> float | None:
    """Return the seconds within which systemd expects a ping, and remove the variables.

    None if it expects none of this process. A value that can't be parsed is logged.
    """
    period = environment.pop("WATCHDOG_USEC", "")
    pid = environment.pop("WATCHDOG_PID", "")
    if not period:
        return None
    microseconds = _number(period)
    if not microseconds or microseconds == _FOREVER:
        log.warning("WATCHDOG_USEC=: not a time span, no pings are sent: %s", printable(period, 64))
        return None
    if pid and (process := _number(pid)) != os.getpid():
        if process is not None:
            return None
        # A needless ping is harmless; a missing one is not.
        log.warning("WATCHDOG_PID=: not a process number: %s; pings are sent", printable(pid, 64))
    return microseconds / 1e6


def _number(text: str) -> int | None:
    """Parse an unsigned number of 64 bits; None if it is not one."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        return None
    number = int(text)
    return number if number <= _FOREVER else None
