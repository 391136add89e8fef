"""Follows the interfaces and addresses of this host."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import closing
from typing import Final, Never

from koi_agent.core.reach.network import UNKNOWN, HostNetwork
from koi_agent.host.addresses import Addresses, network

log = logging.getLogger(__name__)

SETTLING: Final = 1.0
"""Seconds from a change until the interfaces are read: changes come in bursts."""
RETRY: Final = 5.0
"""Seconds until the next attempt after the kernel failed to list the interfaces."""


class NetworkWatch:
    """``current`` is the network of this host; ``changed`` is called with each new one.

    Until the kernel has listed the interfaces, ``current`` is ``UNKNOWN``.
    """

    def __init__(self, changed: Callable[[HostNetwork], None]) -> None:
        self.current = UNKNOWN
        self._changed = changed
        self._is_failing = False

    async def run(self) -> Never:
        """Follow until cancelled; nothing wakes up while nothing changes.

        If the kernel refuses, this is logged once and tried again. Only the network is unknown.
        """
        while True:
            try:
                with closing(Addresses()) as watch:
                    await self._follow(watch)
            except OSError as error:
                if not self._is_failing:
                    log.warning("can't read this host's interfaces: %s; trying again", error)
                self._is_failing = True
            await asyncio.sleep(RETRY)

    async def _follow(self, watch: Addresses) -> Never:
        """Read the interfaces now and after each change; raise ``OSError``."""
        while True:
            found = network()
            self._is_failing = False
            if found != self.current:
                self.current = found
                self._changed(found)
            await watch.changed()
            await asyncio.sleep(SETTLING)
