"""What of an instance others can reach, and where.

A port published by a runtime, or listened on by a unit, is reached at this host; the port of
something that has addresses of its own in the network is reached there. What only this host
can reach is nobody else's business, and is refused with a reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Instance, PortMapping, Protocol, Refusal

Address = IPv4Address | IPv6Address

ADDRESSED: Final = frozenset({"incus", "kubernetes"})
"""Backends whose instances are reached at their own addresses, where a port is not published."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Endpoint:
    """A port that others can reach: at ``addresses``, or, if there are none, at this host's own.

    ``port`` is the one to connect to, ``inside`` the one that the instance itself knows.
    """

    port: int
    protocol: Protocol
    inside: int
    addresses: tuple[str, ...] = ()


def endpoints(instance: Instance) -> tuple[tuple[Endpoint, ...], tuple[Refusal, ...]]:
    """Find what of an instance can be reached, by port, and why the rest can't.

    Binds of one port to several addresses, of IPv4 and IPv6, are one offer.
    """
    found: dict[tuple[int, Protocol, int], set[str]] = {}
    refused: dict[str, str] = {}
    for mapping in instance.ports:
        try:
            _check_asked(instance, mapping)
            port, addresses = _reached(instance, mapping)
        except BadInput as bad:
            refused[_name(mapping)] = str(bad)
        else:
            place = port, mapping.protocol, mapping.container_port
            found.setdefault(place, set()).update(addresses)
    reached = {f"{inside}/{protocol}" for _, protocol, inside in found}
    return (
        tuple(sorted(_offers(found))),
        tuple(Refusal(key=k, reason=why) for k, why in sorted(refused.items()) if k not in reached),
    )


def _offers(found: dict[tuple[int, Protocol, int], set[str]]) -> Iterator[Endpoint]:
    for (port, protocol, inside), addresses in found.items():
        everywhere = "" in addresses
        yield Endpoint(
            port=port,
            protocol=protocol,
            inside=inside,
            addresses=() if everywhere else tuple(sorted(addresses)),
        )


def _name(mapping: PortMapping) -> str:
    return f"{mapping.container_port}/{mapping.protocol}"


def _check_asked(instance: Instance, mapping: PortMapping) -> None:
    """Refuse a port when the owner named others; raises ``BadInput``."""
    wanted = instance.metadata.port
    own = dict(instance.metadata.ports)
    if wanted in (None, mapping.container_port):
        return
    if (mapping.container_port, mapping.protocol) not in own:
        raise BadInput(f"its metadata names {wanted} as the port that serves")


def _reached(instance: Instance, mapping: PortMapping) -> tuple[int, tuple[str, ...]]:
    """Tell where a port is reached, with "" for this host's own addresses; raises ``BadInput``."""
    if mapping.host_port == 0:
        return mapping.container_port, _own_addresses(instance)
    if not mapping.host_ip:
        return mapping.host_port, ("",)
    address = _address(mapping.host_ip)
    if address is None:
        raise BadInput("it is bound to something that is no address")
    if address.is_unspecified:
        return mapping.host_port, ("",)
    if address.is_loopback or address.is_multicast:
        raise BadInput("it is bound to an address that only this host reaches")
    if not _travels(address):
        raise BadInput("it is bound to an address that means something on one link only")
    return mapping.host_port, (str(address),)


def _own_addresses(instance: Instance) -> tuple[str, ...]:
    if instance.backend not in ADDRESSED:
        raise BadInput("it is not published, so only this host reaches it")
    own = (_address(text) for text in instance.ips)
    usable = tuple(str(address) for address in own if address and _travels(address))
    if not usable:
        raise BadInput("no address of its own is known")
    return usable


def _address(text: str) -> Address | None:
    """Read an address, without the zone it may carry; IPv4 in IPv6's clothes is IPv4."""
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _travels(address: Address) -> bool:
    """Tell whether an address means the same to everybody on the network."""
    return not (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
    )
