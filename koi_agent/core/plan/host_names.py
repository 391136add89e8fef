"""The host name that an instance requests in the local domain."""

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Instance
from koi_agent.core.metadata import names
from koi_agent.core.plan.requests import Policy

DOMAIN = ".local"


def host_name(instance: Instance, policy: Policy, *, is_reachable: bool) -> str:
    """Return the requested name, a single label; raise ``BadInput`` if it can't be announced.

    ``is_reachable`` is True if other hosts reach a port of the instance.
    """
    if not is_reachable:
        raise BadInput("nothing of it can be reached by others")
    metadata = instance.metadata
    requested = metadata.dns_name or metadata.name or instance.service_name
    name = names.dns_name(requested).removesuffix(DOMAIN)
    if "." in name:
        text = "mDNS host names have one label before .local: nss-mdns finds no others"
        raise BadInput(f"{names.shown(name)} has dots, and {text}")
    if name in policy.host_names:
        raise BadInput(f"{names.shown(name)} is this host's own name")
    policy.names.check(name)
    return name
