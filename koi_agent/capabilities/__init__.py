"""The capabilities: what the agent does for instances that opt in."""

from collections.abc import Sequence
from socket import socket

from koi_agent.capabilities.dns import dns
from koi_agent.capabilities.health import HEALTH
from koi_agent.capabilities.mdns import MDNS
from koi_agent.capabilities.proxy import PROXY
from koi_agent.core.contracts import Capability


def capabilities(dns_sockets: Sequence[socket] = ()) -> tuple[Capability, ...]:
    """Return the table of capabilities; ``dns_sockets`` are those from systemd for DNS."""
    return MDNS, dns(tuple(dns_sockets)), PROXY, HEALTH
