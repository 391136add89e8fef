"""Notifies secondary servers of changes (RFC 1996)."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, Never

from koi_agent.capabilities.dns import messages
from koi_agent.capabilities.dns.zone import Zone
from koi_agent.config.dns import Server
from koi_agent.timeouts import timeout

log = logging.getLogger(__name__)

PERIOD: Final = 1.0
"""Seconds between two notifications of a server."""
GATHER: Final = 0.1
"""Seconds from a change to its notification: later changes are notified with it."""
WAITS: Final = (2.0, 4.0, 8.0)
"""Seconds that each attempt waits for the response."""


class Notifier:
    """Notifies ``servers`` of changed zones."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._changed = {server: dict[str, Zone]() for server in servers}
        self._woken = {server: asyncio.Event() for server in servers}

    def changed(self, zones: Iterable[Zone]) -> None:
        """Notify all servers of these zones soon."""
        for server, waiting in self._changed.items():
            waiting.update((zone.domain, zone) for zone in zones)
            self._woken[server].set()

    async def run(self) -> Never:
        """Send notifications until cancelled; a server that is slow does not delay the others."""
        async with asyncio.TaskGroup() as group:
            for server in self._changed:
                group.create_task(self._serve(server), name=f"DNS notify {server}")
            await asyncio.Event().wait()
        raise AssertionError("the notifier runs until it is cancelled")

    async def _serve(self, server: Server) -> Never:
        silent = False
        while True:
            await self._woken[server].wait()
            await asyncio.sleep(GATHER)
            self._woken[server].clear()
            waiting = self._changed[server]
            zones = [*waiting.values()]
            waiting.clear()
            for zone in zones:
                if answered := await _notified(server, zone):
                    silent = False
                elif not silent:
                    log.warning("[DNS] Notify=%s: no response; check that it is a server", server)
                silent = silent or not answered
            await asyncio.sleep(PERIOD)


async def _notified(server: Server, zone: Zone) -> bool:
    """Notify a server; return True if it responds."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sending:
        sending.settimeout(0)
        for wait in WAITS:
            number = secrets.randbelow(65_536)
            with suppress(OSError):  # TimeoutError is a subclass
                sending.connect(server)
                async with timeout(wait):
                    request = messages.notification(zone.domain, zone.soa(), number)
                    await loop.sock_sendall(sending, request)
                    while not messages.acknowledges(await loop.sock_recv(sending, 4096), number):
                        pass
                    return True
    return False
