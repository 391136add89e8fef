"""The records of mDNS: DNS-SD services (RFC 6763) and host names (RFC 6762)."""

from dataclasses import dataclass

from koi_agent.core.key import Key
from koi_agent.core.metadata.txt import Txt


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A DNS-SD service of one ``owner``. No ``addresses`` means this host's own."""

    owner: Key
    name: str
    type: str
    port: int
    addresses: tuple[str, ...] = ()
    txt: Txt = ()
    subtypes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The full service name, in mDNS's own domain."""
        return f"{self.name}.{self.type}.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostName:
    """The part of one ``owner`` in a host name: replicas share a name and add an address each.

    No ``addresses`` means this host's own. ``name`` is a single label.
    """

    owner: Key
    name: str
    addresses: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The full host name, in mDNS's own domain."""
        return f"{self.name}.local"


MdnsRecord = Service | HostName
