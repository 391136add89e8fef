"""IP addresses and their families, without a zone."""

from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Family(IntEnum):
    """Address family, by the version of IP."""

    IPV4 = 4
    IPV6 = 6


BOTH: Final = frozenset(Family)
_SETS: Final = {one: one for one in (BOTH, *(frozenset({family}) for family in Family))}


def family_set(of: Iterable[Family]) -> frozenset[Family]:
    """Return the set of some families. All endpoints with the same families share one set."""
    found = frozenset(of)
    return _SETS.get(found, found)


def parse(text: str) -> Address | None:
    """Parse an address without its zone, or return None; an IPv4-mapped IPv6 address is IPv4."""
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def family(address: Address) -> Family:
    """Return the family of an address."""
    return Family(address.version)


def is_unicast(address: Address) -> bool:
    """Return True for an address that a host or a container can have on a network."""
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)
