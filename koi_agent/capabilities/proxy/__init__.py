"""The proxy: TLS in front of instances that name a port of the proxy.

``rules``, ``requests`` and ``upstreams`` decide which routes instances get. ``sites`` is pure: it
has the routes of all instances by host name. An outlet is a provider: ``caddy`` changes the
configuration of a Caddy, ``traefik_file`` writes a file for Traefik, and ``koi`` sends routes to a
Koi daemon.
"""

from collections.abc import Mapping
from typing import Any

from koi_agent.capabilities.proxy.providers import Caddy, Koi, Traefik
from koi_agent.capabilities.proxy.rules import ProxyRules
from koi_agent.config import Config
from koi_agent.core.contracts import Apply, Capability, Provider
from koi_agent.core.plan.full_names import Domains
from koi_agent.core.plan.requests import Policy
from koi_agent.host.koi_daemon.settings import koi_settings


def _rules(policy: Policy, config: Config) -> ProxyRules:
    return ProxyRules(
        policy,
        Domains(main=config.dns.domain, extra=config.dns.extra_domains),
        frozenset(config.proxy.ports),
        enabled=config.capabilities.proxy != ("off",),
        has_outlet=bool(_outlets(config)),
    )


def _outlets(config: Config) -> tuple[str, ...]:
    """Return the names of the outlets that are on."""
    match config.capabilities.proxy:
        case ("off",):
            return ()
        case ("auto",):
            configured = {
                "caddy": config.proxy.caddy,
                "traefik": config.proxy.traefik_file,
                "koi": config.koi.endpoint,
            }
            return tuple(name for name, value in configured.items() if value)
        case names:
            return names


def _providers(config: Config, _apply: Apply) -> Mapping[str, Provider[Any]]:
    known: Mapping[str, Provider[Any]] = {
        "caddy": Caddy(config.scope, config.proxy.caddy, config.proxy.issuer),
        "traefik": Traefik(config.scope, config.proxy.traefik_file),
        "koi": Koi(koi_settings(config)),
    }
    # The names of feeds appear in logs, beside those of other capabilities.
    return {f"proxy {name}": known[name] for name in _outlets(config)}


PROXY = Capability(name="proxy", rules=_rules, providers=_providers)
