"""The full DNS name that an instance requests. DNS and the proxy follow the same rule."""

from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance
from koi_agent.core.metadata.names import dns_name, filled_text, shown
from koi_agent.core.plan.requests import Policy

LONGEST: Final = 220
"""Characters of a full name: that of a service below it has room in the 253 of a DNS name."""
_MULTICAST: Final = "local"


@frozen(kw_only=True)
class Domains:
    """The domains in which instances have names: ``main`` for a single label, and ``extra``."""

    main: str
    extra: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All domains, without repetition."""
        return tuple(dict.fromkeys((self.main, *self.extra)))

    def of(self, name: str) -> str:
        """Return the innermost domain that a name is in, "" for a name outside all."""
        inside = (one for one in self.all if name == one or name.endswith(f".{one}"))
        return max(inside, key=len, default="")


def full_name(instance: Instance, domains: Domains, policy: Policy) -> str:
    """Return the requested name, in lower case and without a final dot; raise ``BadInput``.

    It is ``koi.dns.name``, else the announced name, else the name of the instance.
    """
    metadata = instance.metadata
    requested = metadata.dns_name or metadata.name or instance.service_name
    if not requested.isascii():
        text = "has characters beyond ASCII; write its form that begins with xn--"
        raise BadInput(f"{shown(filled_text(requested))} {text}")
    name = dns_name(requested)
    full = name if "." in name else f"{name}.{domains.main}"
    domain = domains.of(full)
    _check_domain(full, domain, domains, policy)
    _check_labels(full.removesuffix(f".{domain}"), full, policy)
    return full


def _check_domain(full: str, domain: str, domains: Domains, policy: Policy) -> None:
    if full.rpartition(".")[2] == _MULTICAST and domain != full:
        raise BadInput(f"{shown(full)} is a name of mDNS, which DNS servers do not answer")
    if not domain:
        raise BadInput(f"{shown(full)} is outside {', '.join(domains.all)}")
    if full == domain:
        raise BadInput(f"{shown(full)} is the domain itself")
    if domain in policy.host_names:
        raise BadInput(f"the domain {domain} is this host's own name")


def _check_labels(inner: str, full: str, policy: Policy) -> None:
    """Check the part of a name before its domain; raise ``BadInput``."""
    if full in policy.host_names or inner in policy.host_names:
        raise BadInput(f"{shown(inner)} is this host's own name")
    if len(full) > LONGEST:
        raise BadInput(f"{shown(full)} is longer than {LONGEST} characters")
    policy.names.check_full(full, inner)
