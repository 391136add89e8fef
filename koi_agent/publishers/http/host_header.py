"""The check of the Host header: it must name the address of its own connection, or localhost."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

_HOST: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)(?:%(?:25)?[A-Za-z0-9._~-]+)?\]|(?P<name>[^\[\]:@/%]+))(?::[0-9]*)?"
)
"""A Host header: a name or an address, an IPv6 address in brackets with or without a zone, a port.

A zone is written as ``%eth0`` or, in a URL, as ``%25eth0``.
"""

Address = IPv4Address | IPv6Address


def parse_address(text: str) -> Address:
    """Parse an address without its zone, an IPv4-mapped one as IPv4; raise ``ValueError``.

    A socket for both families has the IPv4 addresses of its connections as ``::ffff:a.b.c.d``.
    """
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def is_own_host(header: str, address: Address) -> bool:
    """Return True if a Host header is localhost or names the address of the connection."""
    found = _HOST.fullmatch(header.strip())
    if not found:
        return False
    name: str = found["v6"] or found["name"]
    if name.lower() == "localhost":
        return True
    try:
        named = parse_address(name)
    except ValueError:
        return False
    return named == address or str(named) in ("127.0.0.1", "::1")
