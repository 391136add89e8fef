"""The state of the agent as a whole, which the HTTP API shows."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from koi_agent.core.frozen import frozen
from koi_agent.core.reach.network import UNKNOWN, HostNetwork

ZoneRecord = tuple[str, int, str, str]
"""A resource record: its name with a final dot, its TTL in seconds, its type, and its data as in a
zone file."""


async def _no_zone() -> Sequence[ZoneRecord]:
    """Return no records."""
    return ()


def _no_sites() -> Sequence[Mapping[str, Any]]:
    """Return no routes."""
    return ()


async def _no_document() -> Mapping[str, Any]:
    """Return the configuration of Traefik without routes."""
    return {}


@frozen(kw_only=True)
class ProxyRoutes:
    """The routes of the proxy as values for JSON: as they are, and as Traefik reads them."""

    sites: Callable[[], Sequence[Mapping[str, Any]]] = _no_sites
    traefik: Callable[[], Awaitable[Mapping[str, Any]]] = _no_document


NO_ROUTES: Final = ProxyRoutes()


@frozen(kw_only=True)
class AgentStatus:
    """State and counters of the agent.

    ``state`` is starting, running, degraded, reloading or stopping. ``waiting`` and ``dropped``
    count events by sink: events not sent yet, and events that were discarded.
    ``network`` are the interfaces of this host. ``zone`` returns the records of the DNS zones,
    ``proxy`` the routes of the proxy.
    """

    version: str
    state: str
    waiting: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    network: HostNetwork = UNKNOWN
    zone: Callable[[], Awaitable[Sequence[ZoneRecord]]] = _no_zone
    proxy: ProxyRoutes = NO_ROUTES
