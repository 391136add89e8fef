"""Check of the link by which systemd-resolved asks the agent's DNS server."""

from typing import Final

from koi_agent.bus.client import CallError
from koi_agent.cli.doctor.findings import Bus, Case, Finding, ok, warning
from koi_agent.cli.doctor.resolver import NO_NAMES, START
from koi_agent.cli.doctor.units import SYSTEMD, active_state
from koi_agent.config.dns import DNSConfig
from koi_agent.host.resolver import RESOLVED

LINK_UNIT: Final = "koi-runtime-dns-link.service"
MANAGER: Final = f"{RESOLVED}.Manager"


async def link(case: Case, bus: Bus, dns: DNSConfig) -> Finding | None:
    """Check that systemd-resolved asks a DNS server for the domains if the link for it exists."""
    if case.scope != "system" or SYSTEMD not in bus.names:
        return None
    if await active_state(bus, LINK_UNIT) != "active":
        return None
    try:
        found = await bus.link.get(RESOLVED, "/org/freedesktop/resolve1", MANAGER, "Domains")
    except CallError as error:
        return warning(f"{NO_NAMES}: systemd-resolved: {error}", START)
    routes = {domain for index, domain, _ in found if index}
    domains = dict.fromkeys((dns.domain, *dns.extra_domains))
    if missing := [one for one in domains if one not in routes]:
        text = f"{NO_NAMES} in {', '.join(missing)} by {LINK_UNIT}: set DOMAINS in its unit"
        return warning(text, f"systemctl edit {LINK_UNIT} && systemctl restart {LINK_UNIT}")
    return ok(f"systemd-resolved sends questions about {', '.join(domains)} to {LINK_UNIT}")
