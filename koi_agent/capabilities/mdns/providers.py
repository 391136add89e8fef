"""The programs that publish records, as values.

Their sessions are loaded with the first record that is wanted, because most hosts announce nothing.
"""

from contextlib import AbstractAsyncContextManager

from koi_agent.bus.client import Connection
from koi_agent.capabilities.mdns.bus_names import AVAHI, RESOLVED_MANAGER
from koi_agent.capabilities.mdns.records import MdnsRecord
from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.frozen import frozen
from koi_agent.host.koi_daemon.settings import KoiSettings
from koi_agent.host.resolver import RESOLVED


@frozen()
class Avahi:
    """The avahi-daemon on the bus at ``address``."""

    address: str

    @property
    def name(self) -> str:
        """The name on the bus."""
        return AVAHI

    @property
    def absence(self) -> str:
        """The reason without a session."""
        return "avahi-daemon does not run"

    async def usable(self, _connection: Connection) -> bool:
        """Return True: an avahi-daemon on the bus publishes."""
        return True

    def session(self, report: Report) -> AbstractAsyncContextManager[ProviderSession[MdnsRecord]]:
        """Connect, and wait until Avahi has its host name; raise ``ProviderLost``."""
        from koi_agent.capabilities.mdns.avahi import session  # noqa: PLC0415 - see above

        return session.connected_session(self.address, report)


@frozen()
class Resolved:
    """The systemd-resolved on the bus at ``address``."""

    address: str

    @property
    def name(self) -> str:
        """The name on the bus."""
        return RESOLVED

    @property
    def absence(self) -> str:
        """The reason without a session."""
        return "systemd-resolved with MulticastDNS=yes does not run"

    async def usable(self, connection: Connection) -> bool:
        """Return True if MulticastDNS= is yes, which changes only with a restart."""
        destination, path, interface = RESOLVED_MANAGER
        return bool(await connection.get(destination, path, interface, "MulticastDNS") == "yes")

    def session(self, report: Report) -> AbstractAsyncContextManager[ProviderSession[MdnsRecord]]:
        """Connect, and unregister what an earlier agent left; raise ``ProviderLost``."""
        from koi_agent.capabilities.mdns import resolved  # noqa: PLC0415 - see above

        return resolved.connected_session(self.address, report)


@frozen()
class Koi:
    """A Koi daemon on this host."""

    settings: KoiSettings

    @property
    def absence(self) -> str:
        """The reason without a session."""
        return self.settings.absence

    def session(self, report: Report) -> AbstractAsyncContextManager[ProviderSession[MdnsRecord]]:
        """Connect, and find what an earlier agent left; raise ``ProviderLost``."""
        from koi_agent.capabilities.mdns import koi  # noqa: PLC0415 - see above

        return koi.announcing(self.settings, report)
