"""DNS: names of instances, for this host and for other hosts.

``rules`` and ``requests`` decide which names instances get. ``zone`` is pure: it has the
resource records of all names. An outlet is a provider: ``static`` has records for systemd-resolved
on this host, ``hook`` has answers for it, ``responder`` is a DNS server, ``hosts`` writes files for
dnsmasq, ``update`` sends updates to a DNS server of the network, ``webhook`` sends names to a
provider of external-dns, and ``koi`` to a Koi daemon.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any, Final

from koi_agent.bus.address import address
from koi_agent.capabilities.dns.hook.settings import HookSettings
from koi_agent.capabilities.dns.names_file import clear
from koi_agent.capabilities.dns.providers import (
    Hook,
    HostsDirectory,
    Koi,
    Responder,
    StaticRecords,
    Updates,
    Webhook,
)
from koi_agent.capabilities.dns.responder.settings import ResponderSettings
from koi_agent.capabilities.dns.rules import DnsRules
from koi_agent.capabilities.dns.update.settings import UpdateSettings
from koi_agent.capabilities.dns.webhook.settings import WebhookSettings
from koi_agent.config import Config
from koi_agent.core.contracts import Apply, Capability, Provider
from koi_agent.core.plan.full_names import Domains
from koi_agent.core.plan.requests import Policy
from koi_agent.host.koi_daemon.settings import koi_settings
from koi_agent.host.resolver import HOOK_DIRECTORY, HOOK_SOCKET, hook_obstacle, static_obstacle

STATIC_FILE: Final = Path("/run/koi-runtime/dns/static.rr")
HOOK_FILE: Final = Path("/run/koi-runtime/dns/hook.json")
STATIC_LINK: Final = Path("/usr/lib/systemd/resolve/static.d/koi-runtime.rr")
"""The link that the package installs, where systemd-resolved looks for files."""


def _domains(config: Config) -> Domains:
    return Domains(main=config.dns.domain, extra=config.dns.extra_domains)


def dns(passed: Sequence[socket] = ()) -> Capability:
    """Return the capability; ``passed`` are the sockets from systemd for the server."""
    return Capability(
        name="dns",
        rules=partial(_rules, tuple(passed)),
        providers=partial(_providers, tuple(passed)),
        recover=_recover,
    )


def _rules(passed: Sequence[socket], policy: Policy, config: Config) -> DnsRules:
    return DnsRules(policy, _domains(config), enabled=bool(_outlets(passed, config)))


def _outlets(passed: Sequence[socket], config: Config) -> tuple[str, ...]:
    """Return the names of the outlets that are on."""
    match config.capabilities.dns:
        case ("off",):
            return ()
        case ("auto",):
            configured = {
                "static": _is_for_this_host(config),
                "server": passed or config.dns.listen,
                "hosts": config.dns.hosts_directory,
                "update": config.dns.update,
                "webhook": config.dns.webhook,
                "koi": config.koi.endpoint,
            }
            return tuple(name for name, value in configured.items() if value)
        case names:
            return names


def _is_for_this_host(config: Config) -> bool:
    """Return True if this host has static records by default."""
    return STATIC_LINK.is_symlink() and not static_obstacle(config.scope)


async def _recover(config: Config) -> None:
    """Withdraw the names that a killed agent gave to this host, unless they are written again."""
    if config.scope != "system":
        return
    outlets = _outlets((), config)
    if "static" not in outlets and STATIC_FILE.exists():
        from koi_agent.capabilities.dns.static.file import STATIC  # noqa: PLC0415 - rarely needed

        clear(STATIC_FILE, STATIC)
    if "hook" not in outlets and HOOK_FILE.exists():
        from koi_agent.capabilities.dns.hook.file import HOOK  # noqa: PLC0415 - rarely needed

        clear(HOOK_FILE, HOOK)


def _hook(config: Config) -> Hook:
    return Hook(
        HookSettings(
            address=address("system"),
            file=HOOK_FILE,
            socket=HOOK_SOCKET,
            service=HOOK_DIRECTORY,
            domains=_domains(config),
            ttl=int(config.dns.ttl),
            obstacle=hook_obstacle(config.scope),
        )
    )


def _providers(
    passed: Sequence[socket], config: Config, _apply: Apply
) -> Mapping[str, Provider[Any]]:
    dns = config.dns
    known: Mapping[str, Provider[Any]] = {
        "static": StaticRecords(
            address=address("system"),
            file=STATIC_FILE,
            link=STATIC_LINK,
            obstacle=static_obstacle(config.scope),
        ),
        "hook": _hook(config),
        "server": Responder(
            ResponderSettings(
                scope=config.scope,
                domains=_domains(config),
                networks=dns.reverse_networks,
                ttl=int(dns.ttl),
                listen=dns.listen,
                passed=tuple(passed),
                allow_transfer=dns.allow_transfer,
                notify=dns.notify,
            )
        ),
        "hosts": HostsDirectory(config.scope, dns.hosts_directory),
        "update": Updates(_update_settings(config)),
        "webhook": Webhook(_webhook_settings(config)),
        "koi": Koi(koi_settings(config), int(dns.ttl)),
    }
    # The names of feeds appear in logs, beside those of other capabilities.
    return {f"dns {name}": known[name] for name in _outlets(passed, config)}


def _update_settings(config: Config) -> UpdateSettings:
    dns = config.dns
    return UpdateSettings(
        scope=config.scope,
        domains=_domains(config),
        ttl=int(dns.ttl),
        server=dns.update,
        zone=dns.update_zone or dns.domain,
        key=dns.update_key,
        key_file=dns.update_key_file,
        release_on_stop=dns.release_on_stop,
    )


def _webhook_settings(config: Config) -> WebhookSettings:
    return WebhookSettings(
        scope=config.scope,
        url=config.dns.webhook,
        ttl=int(config.dns.ttl),
        release_on_stop=config.dns.release_on_stop,
    )
