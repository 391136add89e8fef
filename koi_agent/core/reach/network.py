"""The network interfaces of this host and their addresses, as values.

``koi_agent.host.addresses`` reads them from the kernel.
"""

from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_interface
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.reach.addresses import Address, Family, Network


class LinkKind(StrEnum):
    """Kind of an interface by the hosts that are on its network.

    ``CONTAINERS`` is a bridge or a link to containers and virtual machines of this host only.
    ``DOWN`` has no network at present.
    """

    NETWORK = "network"
    CONTAINERS = "containers"
    LOOPBACK = "loopback"
    DOWN = "down"


@frozen(kw_only=True, order=True)
class LinkAddress:
    """An address of an interface, with the length of its network's prefix.

    ``is_lasting`` is False for an address that must not be announced: a temporary address of
    IPv6 (RFC 8981), or one that is deprecated or not yet verified.
    """

    address: str
    prefix: int
    is_link_local: bool = False
    is_lasting: bool = True

    @property
    def family(self) -> Family:
        """The family of the address."""
        return Family.IPV6 if ":" in self.address else Family.IPV4

    @property
    def network(self) -> Network:
        """The network of the address and its prefix."""
        return _network(self.address, self.prefix)

    @property
    def is_alone(self) -> bool:
        """True for a link-local address on a network that has no other address."""
        return self.is_link_local and self.prefix == self.network.max_prefixlen


@lru_cache(maxsize=4096)
def _network(address: str, prefix: int) -> Network:
    """Parse a network; cached, because each plan asks for all of them."""
    return ip_interface(f"{address}/{prefix}").network


@frozen(kw_only=True, order=True)
class Link:
    """A network interface; ``index`` is its number, as in if_nameindex(3).

    ``is_bridge`` is True if this host reaches every machine on the network through it. A parent of
    macvlan or ipvlan interfaces does not reach these. ``has_multicast`` is needed for mDNS.
    """

    name: str
    index: int
    kind: LinkKind
    is_bridge: bool = False
    has_multicast: bool = True
    addresses: tuple[LinkAddress, ...] = ()

    def has(self, address: Address) -> bool:
        """Return True if this is an address of the interface."""
        return any(one.address == str(address) for one in self.addresses)

    def has_on_link(self, address: Address) -> bool:
        """Return True if an address is on the network of the interface."""
        return any(address in one.network for one in self.addresses)

    def announced(self) -> Iterator[LinkAddress]:
        """Yield the addresses to give to other hosts on the network.

        As in Avahi, a link-local address counts if the interface has no other of its family. If
        nothing else is on its network, such as that of koi-runtime-dns-link.service, it does not.
        """
        lasting = [one for one in self.addresses if one.is_lasting and not one.is_alone]
        wide = {one.family for one in lasting if not one.is_link_local}
        return (one for one in lasting if not one.is_link_local or one.family not in wide)


@frozen()
class HostNetwork:
    """The interfaces of this host, sorted by name. Without any, the network is not known."""

    links: tuple[Link, ...] = ()

    @property
    def is_known(self) -> bool:
        """True if the interfaces could be read: every host has a loopback interface."""
        return bool(self.links)

    def networks(self) -> Iterator[Link]:
        """Yield the interfaces that connect other hosts."""
        return (link for link in self.links if link.kind is LinkKind.NETWORK)

    def link(self, name: str) -> Link | None:
        """Return the interface of a name, or None."""
        return next((link for link in self.links if link.name == name), None)

    def with_address(self, address: Address) -> Link | None:
        """Return the interface that has an address, or None."""
        return next((link for link in self.links if link.has(address)), None)

    def towards(self, address: Address) -> Link | None:
        """Return the interface on whose network an address is, or None."""
        return next((link for link in self.links if link.has_on_link(address)), None)

    def has_loopback(self, wanted: Family) -> bool:
        """Return True if this host reaches itself over a family; IPv6 may be turned off."""
        if not self.is_known:
            return True
        loopbacks = (link for link in self.links if link.kind is LinkKind.LOOPBACK)
        return any(one.family is wanted for link in loopbacks for one in link.addresses)


UNKNOWN: Final = HostNetwork()
"""The network of a host whose interfaces could not be read yet."""
