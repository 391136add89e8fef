"""The names and addresses by which a Host header may name this host.

No other host's owner can let these names resolve to an address of this host, so a web page of
another host has none of them (DNS rebinding).
"""

import asyncio
import re
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from koi_agent.core.reach.addresses import parse
from koi_agent.core.reach.network import HostNetwork, LinkKind
from koi_agent.host.own_names import canonical_names, folded, static_name, with_short_forms

HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/%]+))(?::[0-9]*)?")
"""A Host header: an IPv6 address in brackets, or a name or another address, and a port."""
KEPT: Final = 10.0
"""Seconds for which names that were looked up are kept."""


class OwnNames:
    """Names of this host: its own, and ``configured`` ones in lower case.

    ``network`` returns the interfaces of this host.
    """

    def __init__(self, network: Callable[[], HostNetwork]) -> None:
        self.configured: Collection[str] = ()
        self._network = network
        self._found: frozenset[str] = frozenset()
        self._until = 0.0

    async def has(self, header: str) -> bool:
        """Return True if a Host header has a name or an address of this host."""
        match = HOST.fullmatch(header.strip())
        if not match:
            return False
        name = normalized(match[1] or match[2])
        if name in self.configured or name in _names_at_hand() or self._is_address(name):
            return True
        loop = asyncio.get_running_loop()
        if loop.time() >= self._until:
            self._until = loop.time() + KEPT
            # Not its name in mDNS, which may be that of another host: Avahi has the kernel's name.
            static = filter(None, [folded(static_name())])
            self._found = frozenset({*static, *await canonical_names()})
        return name in self._found

    def _is_address(self, name: str) -> bool:
        address = parse(name)
        link = self._network().with_address(address) if address else None
        # A loopback address counts only as that of the connection.
        return link is not None and link.kind is not LinkKind.LOOPBACK


def normalized(name: str) -> str:
    """Return a name in lower case and without the dot of the root, or an address in one form."""
    with suppress(ValueError):
        address = ip_address(name)
        return str(getattr(address, "ipv4_mapped", None) or address)
    return folded(name)


def _names_at_hand() -> Collection[str]:
    """Return the names that need no lookup."""
    return with_short_forms([socket.gethostname()])
