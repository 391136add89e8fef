"""The firewall of a unit: IPAddressAllow=, IPAddressDeny=, RestrictNetworkInterfaces=.

See systemd.resource-control(5). A packet may enter if its address is allowed, or else if it is
not denied. Slices above the unit may have filters of their own, which are not read.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import ip_network
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.reach.addresses import Address, Network

WORDS: Final = {
    "any": ("0.0.0.0/0", "::/0"),
    "localhost": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/64"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
}
"""The words that stand for networks (systemd.resource-control(5))."""


@frozen(kw_only=True)
class AddressFilter:
    """Which addresses and interfaces may exchange packets with an instance.

    ``allow`` and ``deny`` are networks such as ``192.0.2.0/24``. ``interfaces`` are the names of
    interfaces that are allowed, or denied if ``denies_interfaces`` is True; empty means all.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    denies_interfaces: bool = False

    def admits_interface(self, name: str) -> bool:
        """Return True if packets may come in through an interface."""
        return not self.interfaces or (name in self.interfaces) is not self.denies_interfaces

    def admits(self, address: Address) -> bool:
        """Return True if packets from one address may enter."""
        return self.admits_network(ip_network(address))

    def admits_network(self, network: Network) -> bool:
        """Return True if packets from some address of a network may enter."""
        if any(network.overlaps(one) for one in _networks(self.allow, network.version)):
            return True
        return not any(_contains(one, network) for one in _networks(self.deny, network.version))


OPEN: Final = AddressFilter()
"""The filter of an instance without a firewall of its own."""


def networks_of(text: str) -> Iterator[str]:
    """Yield the networks in a value of IPAddressAllow= or IPAddressDeny=.

    What is neither a word nor an address is skipped, as systemd does.
    """
    for word in text.split():
        if word in WORDS:
            yield from WORDS[word]
            continue
        try:
            yield str(ip_network(word, strict=False))
        except ValueError:
            continue


def _networks(texts: Iterable[str], version: int) -> Iterator[Network]:
    return (one for one in map(_network, texts) if one.version == version)


def _contains(outer: Network, inner: Network) -> bool:
    """Return True if all addresses of ``inner``, of the same family, are in ``outer``."""
    return outer.prefixlen <= inner.prefixlen and inner.network_address in outer


@lru_cache(maxsize=256)
def _network(text: str) -> Network:
    return ip_network(text)
