"""The two kinds of server that speak the API of Incus."""

from collections.abc import Mapping
from os.path import lexists
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.host.engines import gate_socket, gate_unit
from koi_agent.host.incus import SERVERS


@frozen(kw_only=True)
class Kind:
    """A kind of server.

    ``name`` is the word in the configuration and in the API, ``title`` the server's own spelling.
    ``socket_units`` has the unit of each path on which the server usually listens. A connection
    to the path starts the server.
    """

    name: str
    title: str
    socket_units: Mapping[str, str]

    @property
    def sockets(self) -> tuple[str, ...]:
        """Return the paths on which the server usually listens."""
        return tuple(self.socket_units)

    def socket_unit(self, path: str) -> str:
        """Return the unit by which a connection to a path starts the server, "" without one.

        The gate connects to the first of the usual paths that exists.
        """
        if path == self.gate_socket:
            path = next(filter(lexists, self.sockets), self.sockets[0])
        return self.socket_units.get(path, "")

    @property
    def gate_socket(self) -> str:
        """Return the socket path of the server's gate."""
        return gate_socket(self.name)

    @property
    def gate_unit(self) -> str:
        """Return the path unit that starts and stops the gate with the server."""
        return gate_unit(self.name)


def _units(name: str, *units: str) -> Mapping[str, str]:
    return dict(zip(SERVERS[name], units, strict=True))


INCUS: Final = Kind(name="incus", title="Incus", socket_units=_units("incus", "incus.socket"))
LXD: Final = Kind(
    name="lxd",
    title="LXD",
    socket_units=_units("lxd", "lxd.socket", "snap.lxd.daemon.unix.socket"),
)
KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in (INCUS, LXD)}
