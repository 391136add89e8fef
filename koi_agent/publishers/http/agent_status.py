"""The state of the agent as a whole, which the HTTP API shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from koi_agent.core.reach.network import UNKNOWN, HostNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """State and counters of the agent.

    ``state`` is starting, running, degraded, reloading or stopping. ``waiting`` and ``dropped``
    count events by sink: events not sent yet, and events that were discarded.
    ``network`` are the interfaces of this host.
    """

    version: str
    state: str
    waiting: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    network: HostNetwork = UNKNOWN
