"""DNS: names of instances, for this host and for other hosts.

``rules``, ``requests`` and ``names`` decide which names instances get. ``zone`` is pure: it has the
resource records of all names. An outlet is a provider: ``responder`` is a DNS server, and ``hosts``
writes files for dnsmasq.
"""

from collections.abc import Mapping
from typing import Any

from koi_agent.capabilities.dns.names import Domains
from koi_agent.capabilities.dns.providers import HostsDirectory, Responder
from koi_agent.capabilities.dns.responder.settings import ResponderSettings
from koi_agent.capabilities.dns.rules import DnsRules
from koi_agent.config import Config
from koi_agent.core.contracts import Apply, Capability, Provider
from koi_agent.core.plan.requests import Policy


def _domains(config: Config) -> Domains:
    return Domains(main=config.dns.domain, extra=config.dns.extra_domains)


def _rules(policy: Policy, config: Config) -> DnsRules:
    return DnsRules(policy, _domains(config), enabled=bool(_outlets(config)))


def _outlets(config: Config) -> tuple[str, ...]:
    """Return the names of the outlets that are on."""
    match config.capabilities.dns:
        case ("off",):
            return ()
        case ("auto",):
            configured = {"server": config.dns.listen, "hosts": config.dns.hosts_directory}
            return tuple(name for name, value in configured.items() if value)
        case names:
            return names


def _providers(config: Config, _apply: Apply) -> Mapping[str, Provider[Any]]:
    dns = config.dns
    known: Mapping[str, Provider[Any]] = {
        "server": Responder(
            ResponderSettings(
                scope=config.scope,
                domains=_domains(config),
                ttl=int(dns.ttl),
                listen=dns.listen,
                allow_transfer=dns.allow_transfer,
                notify=dns.notify,
            )
        ),
        "hosts": HostsDirectory(config.scope, dns.hosts_directory),
    }
    # The names of feeds appear in logs, beside those of other capabilities.
    return {f"dns {name}": known[name] for name in _outlets(config)}


DNS = Capability(name="dns", rules=_rules, providers=_providers)
