"""The state of the agent as a whole, which the HTTP API shows."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field

from koi_agent.core.frozen import frozen
from koi_agent.core.reach.network import UNKNOWN, HostNetwork

ZoneRecord = tuple[str, int, str, str]
"""A resource record: its name with a final dot, its TTL in seconds, its type, and its data as in a
zone file."""


async def _no_zone() -> Sequence[ZoneRecord]:
    """Return no records."""
    return ()


@frozen(kw_only=True)
class AgentStatus:
    """State and counters of the agent.

    ``state`` is starting, running, degraded, reloading or stopping. ``waiting`` and ``dropped``
    count events by sink: events not sent yet, and events that were discarded.
    ``network`` are the interfaces of this host. ``zone`` returns the records of the DNS zones.
    """

    version: str
    state: str
    waiting: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    network: HostNetwork = UNKNOWN
    zone: Callable[[], Awaitable[Sequence[ZoneRecord]]] = _no_zone
