"""The presence of systemd-resolved on the system bus, which the outlets for this host follow."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Never

from koi_agent.bus.client import connected
from koi_agent.bus.errors import BusLost, CallError
from koi_agent.bus.presence import Presence
from koi_agent.core.errors import ProviderLost
from koi_agent.host.resolver import RESOLVED


@asynccontextmanager
async def arrival(address: str) -> AsyncIterator[Presence]:
    """Wait for systemd-resolved on the bus at ``address``; raise ``ProviderLost``."""
    async with AsyncExitStack() as stack:
        try:
            presence = Presence(await stack.enter_async_context(connected(address)))
            await presence.watch(stack, RESOLVED)
            while not presence.owners[RESOLVED]:
                await presence.change()
        except (BusLost, CallError, OSError) as error:  # TimeoutError is a subclass
            raise ProviderLost(f"bus at {address}: {str(error) or 'no answer'}") from error
        yield presence


async def departure(presence: Presence) -> Never:
    """Raise ``ProviderLost`` when systemd-resolved leaves the bus or restarts."""
    first = presence.owners[RESOLVED]
    while presence.owners[RESOLVED] == first:
        try:
            await presence.change()
        except BusLost as lost:
            raise ProviderLost(f"bus: {lost}") from lost
    raise ProviderLost("systemd-resolved left the bus")
