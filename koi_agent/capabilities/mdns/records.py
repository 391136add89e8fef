"""The records of mDNS: DNS-SD services (RFC 6763) and host names (RFC 6762)."""

from koi_agent.core.frozen import frozen
from koi_agent.core.key import Key
from koi_agent.core.metadata.txt import Txt


@frozen(kw_only=True)
class Service:
    """A DNS-SD service of one ``owner``. No ``addresses`` means this host's own.

    ``interfaces`` are the names of the interfaces on which it is announced; none means all.
    ``family`` limits this host's own addresses to IPv4 (4) or IPv6 (6); None means both.
    """

    owner: Key
    name: str
    type: str
    port: int
    addresses: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    family: int | None = None
    txt: Txt = ()
    subtypes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The full service name, in mDNS's own domain."""
        return f"{self.name}.{self.type}.local"


@frozen(kw_only=True)
class HostName:
    """The part of one ``owner`` in a host name: replicas share a name and add an address each.

    No ``addresses`` means this host's own. ``name`` is a single label. ``interfaces`` and
    ``family`` are those of ``Service``.
    """

    owner: Key
    name: str
    addresses: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    family: int | None = None

    @property
    def title(self) -> str:
        """The full host name, in mDNS's own domain."""
        return f"{self.name}.local"


MdnsRecord = Service | HostName
