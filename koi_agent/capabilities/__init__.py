"""The capabilities: what the agent does for instances that opt in."""

from koi_agent.capabilities.dns import DNS
from koi_agent.capabilities.health import HEALTH
from koi_agent.capabilities.mdns import MDNS
from koi_agent.core.contracts import Capability

CAPABILITIES: tuple[Capability, ...] = (MDNS, DNS, HEALTH)
