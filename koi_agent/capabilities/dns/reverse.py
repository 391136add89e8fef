"""The reverse names of addresses. An address has one if it belongs to one instance."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from koi_agent.capabilities.dns.records import Name
from koi_agent.config.dns import BITS_OF_LABEL
from koi_agent.core.key import Key
from koi_agent.core.reach.addresses import Network


def zone_name(network: Network) -> str:
    """Return the name of the zone for a network whose prefix ends with a label."""
    labels = reverse_name(str(network.network_address)).split(".")
    bits = network.max_prefixlen - network.prefixlen
    return ".".join(labels[bits // BITS_OF_LABEL[network.version] :])


def reverse_name(address: str) -> str:
    """Return the reverse name of an address, without a final dot."""
    return ip_address(address).reverse_pointer


class Pointers:
    """The names to which own addresses point.

    The cost of a change does not depend on other names.
    """

    def __init__(self) -> None:
        self._of_owner: dict[Key, Sequence[tuple[str, str]]] = {}
        self._at: dict[str, set[tuple[Key, str]]] = {}

    def put(self, owner: Key, names: Sequence[Name]) -> None:
        """Set the names of an owner."""
        for address, name in self._of_owner.pop(owner, ()):
            self._at[address].discard((owner, name))
            if not self._at[address]:
                del self._at[address]
        pairs = [(address, one.name) for one in names for address in one.own_addresses]
        for address, name in pairs:
            self._at.setdefault(address, set()).add((owner, name))
        if pairs:
            self._of_owner[owner] = pairs

    def at(self, address: str) -> str:
        """Return the name to which an address points, "" for none."""
        names = self._at.get(address, set())
        return next(iter(names))[1] if len(names) == 1 else ""

    def all(self) -> Iterator[tuple[str, str]]:
        """Yield each address that points to a name, and the name."""
        for address in self._at:
            if name := self.at(address):
                yield address, name
