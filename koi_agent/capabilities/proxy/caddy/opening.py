"""Opens a session: waits for Caddy, and removes all objects of the agent at the end.

They stay if the agent is restarting, so that a restart interrupts no connection through Caddy.
"""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from koi_agent.bus.address import address as bus_address
from koi_agent.bus.end import ends_for_good
from koi_agent.capabilities.proxy.caddy.admin_api import AdminAPI, admin_api
from koi_agent.capabilities.proxy.caddy.entrance import Entrance, entrance
from koi_agent.capabilities.proxy.caddy.session import CaddySession
from koi_agent.capabilities.proxy.caddy.watch import watching
from koi_agent.config.proxy import AdminAddress
from koi_agent.core.backoff import pauses
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost
from koi_agent.host.agent_mark import own_mark
from koi_agent.host.caddy.objects import Names
from koi_agent.host.path_watch import path_states, wait_for_change
from koi_agent.timeouts import timeout

_ABSENT: Final = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET})
"""Errors of a Caddy that does not run or is starting."""
_FIRST, _OF_ADDRESS, _OF_PATH = 0.1, 2.0, 30.0
"""Seconds between attempts to connect: a change of a path is seen at once."""


@asynccontextmanager
async def serving(
    scope: str, address: AdminAddress, report: Report, *, issuer: str
) -> AsyncIterator[CaddySession]:
    """Serve routes until the context is left, and then remove them; raise ``ProviderLost``."""
    names = Names(own_mark(scope))
    way = entrance(scope, address)
    async with admin_api(way) as api:
        await _reached(api, way)
        session = CaddySession(api, way.address, names, report, issuer=issuer)
        is_lost = False
        try:
            yield session
        except ProviderLost:
            is_lost = True
            raise
        finally:
            if not is_lost and await ends_for_good(bus_address(scope)):
                await session.close()


async def _reached(api: AdminAPI, way: Entrance) -> None:
    """Wait for a Caddy that answers; raise ``ProviderLost`` if this agent may not connect."""
    paths = way.paths
    longest = _OF_PATH if paths else _OF_ADDRESS
    waits = pauses(_FIRST, longest)
    while True:
        since = path_states(paths)
        try:
            async with watching(way.address):
                return
        except OSError as error:  # TimeoutError is a subclass
            if error.errno not in (None, *_ABSENT):
                raise api.lost(_advised(error, way)) from error
        with suppress(TimeoutError):
            async with timeout(next(waits)):
                await wait_for_change(paths, since)
                waits = pauses(_FIRST, longest)


def _advised(error: OSError, way: Entrance) -> str:
    """Return the reason of an error, and how to open the gate if only the gate may connect."""
    reason = error.strerror or str(error)
    is_closed = isinstance(error, PermissionError) and way.address == way.configured
    return f"{reason}; systemctl start {way.gate_unit}" if is_closed and way.gate_unit else reason
