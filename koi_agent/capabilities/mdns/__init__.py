"""mDNS and DNS-SD (RFC 6762, RFC 6763): services and host names, announced on the local links.

``rules`` and ``requests`` decide what is announced. ``avahi`` publishes through avahi-daemon,
``resolved`` through systemd-resolved, which announces services only. ``failover`` uses the first
of them that runs and changes over when a better one appears. ``koi`` publishes through a Koi
daemon, which is preferred where one is configured.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from koi_agent.bus.address import address
from koi_agent.bus.client import BUS, BUS_PATH, CallError, connected
from koi_agent.bus.writer import BusLost
from koi_agent.capabilities.mdns.failover import Failover
from koi_agent.capabilities.mdns.providers import Avahi, Koi, Resolved
from koi_agent.capabilities.mdns.rules import MdnsRules
from koi_agent.config import Config
from koi_agent.core.contracts import Apply, Capability, Provider
from koi_agent.core.plan.requests import Policy
from koi_agent.host.koi_daemon.preferred import Preferred
from koi_agent.host.koi_daemon.settings import koi_settings
from koi_agent.host.resolver import RESOLVED
from koi_agent.timeouts import timeout

RECOVERY_TIMEOUT: Final = 3.0
"""Seconds by which recovery may delay the first announcement."""


async def _recover(_config: Config) -> None:
    """Withdraw what a killed agent left in systemd-resolved, independent of ``MDNS=``.

    Nothing is raised. A systemd-resolved that can't be reached in time has nothing of the agent,
    as a rule; if it has, the next session with it clears that.
    """
    with suppress(BusLost, CallError, OSError):
        async with timeout(RECOVERY_TIMEOUT), connected(address("system")) as link:
            (runs,) = await link.call((BUS, BUS_PATH, BUS), "NameHasOwner", "s", (RESOLVED,))
            if runs:
                # Imported here because few hosts run it.
                from koi_agent.capabilities.mdns.resolved import clear  # noqa: PLC0415

                await clear(link)


def _rules(policy: Policy, _config: Config) -> MdnsRules:
    return MdnsRules(policy)


def _providers(config: Config, _apply: Apply) -> Mapping[str, Provider[Any]]:
    """Return the provider that ``MDNS=`` names; users' agents use the system bus, too."""
    bus = address("system")
    of_host = Failover(bus, (Avahi(bus), Resolved(bus)))
    match config.capabilities.mdns:
        case "off":
            return {}
        case "avahi":
            return {"mdns": Failover(bus, (Avahi(bus),))}
        case "resolved":
            return {"mdns": Failover(bus, (Resolved(bus),))}
        case word if word == "koi" or config.koi.endpoint:
            settings = replace(koi_settings(config), has_fallback=True)
            return {"mdns": Preferred("mdns", settings, Koi(settings), of_host)}
        case _:
            return {"mdns": of_host}


MDNS = Capability(name="mdns", rules=_rules, providers=_providers, recover=_recover)
