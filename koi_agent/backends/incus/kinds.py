"""The two kinds of server that speak the API of Incus."""

from collections.abc import Mapping
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.host.engines import gate_socket, gate_unit
from koi_agent.host.incus import SERVERS


@frozen(kw_only=True)
class Kind:
    """A kind of server.

    ``name`` is the word in the configuration and in the API, ``title`` the server's own spelling.
    ``socket_units`` are the units by which a connection starts the server.
    """

    name: str
    title: str
    socket_units: tuple[str, ...]

    @property
    def sockets(self) -> tuple[str, ...]:
        """Return the paths on which the server usually listens."""
        return SERVERS[self.name]

    @property
    def gate_socket(self) -> str:
        """Return the path of the gate before the server."""
        return gate_socket(self.name)

    @property
    def gate_unit(self) -> str:
        """Return the path unit that starts and stops the gate with the server."""
        return gate_unit(self.name)


INCUS: Final = Kind(name="incus", title="Incus", socket_units=("incus.socket",))
LXD: Final = Kind(
    name="lxd", title="LXD", socket_units=("lxd.socket", "snap.lxd.daemon.unix.socket")
)
KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in (INCUS, LXD)}
