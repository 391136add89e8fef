"""Checks a route: a name in the administrator's domains, and upstreams with numeric addresses."""

import re
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from koi_agent.core.errors import BadInput
from koi_agent.core.metadata.names import dns_name
from koi_agent.core.plan.full_names import Domains
from koi_agent.core.reach.local import Target
from koi_agent.host.caddy import objects
from koi_agent.host.caddy.objects import STREAMS, Forwarding, Json, Names
from koi_agent.services.gate.head import Forbidden

MOST_UPSTREAMS: Final = 1000
_DIAL: Final = re.compile(r"(?:([0-9.]{7,15})|\[([0-9a-f:]{2,39})\]):([1-9][0-9]{0,4})")


def parse_route(body: Any, names: Names, port: int, domains: Domains) -> Json:
    """Return the route that a body asks for; raise ``Forbidden`` if it asks for anything else."""
    try:
        ((matcher,), (handler,)) = body["match"], body["handle"]
        (host,) = matcher["host"]
        dials = tuple(one["dial"] for one in handler["upstreams"])
        has_transport, keeps_streams = "transport" in handler, STREAMS in handler
    except (KeyError, TypeError, ValueError) as error:
        raise Forbidden("route has another form than those of the agent") from error
    check_host(host, domains)
    _check_dials(dials)
    made = objects.route(
        names,
        Forwarding(
            port=port,
            host=host,
            dials=dials,
            is_https=has_transport,
            keeps_streams=keeps_streams,
        ),
    )
    if made != body:
        raise Forbidden("route is not as the agent makes it")
    return made


def check_host(host: Any, domains: Domains) -> None:
    """Raise ``Forbidden`` unless this is a name in the domains of instances."""
    try:
        is_name = isinstance(host, str) and dns_name(host) == host
    except BadInput:
        is_name = False
    if not is_name:
        raise Forbidden("host is not a DNS name")
    if domains.of(host) in ("", host):
        raise Forbidden("host is outside [DNS] Domain= and ExtraDomains=")


def _check_dials(dials: tuple[Any, ...]) -> None:
    if not 0 < len(dials) <= MOST_UPSTREAMS or not all(isinstance(one, str) for one in dials):
        raise Forbidden(f"route has not 1 to {MOST_UPSTREAMS} upstreams")
    if len(set(dials)) < len(dials):
        raise Forbidden("upstream is there twice")
    for dial in dials:
        if not _is_address(dial):
            raise Forbidden("upstream is not a numeric unicast address with a port")


def _is_address(dial: str) -> bool:
    """Return True for an address that a host or a container can have, in its one spelling."""
    found = _DIAL.fullmatch(dial)
    try:
        address = ip_address((found and (found[1] or found[2])) or "")
    except ValueError:
        return False
    port = int(found[3]) if found else 0
    if Target(str(address), port).text != dial or port > 65535:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return False
    return not (
        address.is_multicast
        or address.is_unspecified
        or address.is_link_local
        or str(address) == "255.255.255.255"
    )
