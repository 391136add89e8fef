"""Services and host names by mDNS and DNS-SD (RFC 6762, RFC 6763).

``avahi`` talks with avahi-daemon, in which ``groups`` has an entry group for each instance;
``resolved`` talks with systemd-resolved, which knows services alone. ``presence`` takes the first
of them that runs, and changes over when a better one comes.
"""

import asyncio
from contextlib import suppress
from typing import Final

from koi_agent.bus.address import address
from koi_agent.bus.client import CallError, connected
from koi_agent.bus.writer import BusLost
from koi_agent.capabilities.mdns.avahi.provider import Avahi
from koi_agent.capabilities.mdns.failover import Failover
from koi_agent.capabilities.mdns.resolved import Resolved, clear
from koi_agent.core.contracts import Provider

CLEARING: Final = 3.0
"""Seconds that clearing away may hold up the first announcement."""


async def clear_leftovers() -> None:
    """Withdraw what a killed agent left behind, whoever publishes now and whatever is wanted.

    Nothing is raised: what can't be reached in time has nothing of ours, as a rule, and what does
    has a session that clears it away.
    """
    with suppress(BusLost, CallError, OSError):
        async with asyncio.timeout(CLEARING), connected(address("system")) as link:
            await clear(link)


def provider(wish: str) -> Provider | None:
    """Choose who publishes records, by what ``MDNS=`` says; ``None`` is nobody.

    Whatever does it is on the system's bus, also for a user's agent.
    """
    bus = address("system")
    match wish:
        case "off":
            return None
        case "avahi":
            return Failover(bus, Avahi(bus))
        case "resolved":
            return Failover(bus, Resolved(bus))
        case _:
            return Failover(bus, Avahi(bus), Resolved(bus))
