"""The way to the admin API: through its gate if there is one, otherwise directly."""

from pathlib import Path
from typing import Final

from koi_agent.config.proxy import AdminAddress
from koi_agent.core.frozen import frozen
from koi_agent.core.text import printable
from koi_agent.host.caddy.sockets import ADMIN_SOCKET, GATE_SOCKET, GATE_UNIT

_GATE: Final = AdminAddress(path=GATE_SOCKET)


@frozen(kw_only=True)
class Entrance:
    """The ``address`` to connect to, for the admin API at the ``configured`` one.

    ``gate_unit`` opens the gate in front of it, "" if there is no such unit.
    """

    configured: AdminAddress
    address: AdminAddress
    gate_unit: str = ""

    @property
    def title(self) -> str:
        """The setting, as messages show it."""
        return f"[Proxy] Caddy={printable(str(self.configured))}"

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that change when Caddy or its gate starts."""
        found = dict.fromkeys((self.configured.path, self.address.path))
        gate = (GATE_SOCKET,) if self.gate_unit else ()
        return tuple(filter(None, (*found, *gate)))


def entrance(scope: str, configured: AdminAddress) -> Entrance:
    """Return the way to a configured address. Only the system's agent has a gate."""
    if scope != "system" or configured.path != ADMIN_SOCKET:
        return Entrance(configured=configured, address=configured)
    address = _GATE if Path(GATE_SOCKET).exists() else configured
    return Entrance(configured=configured, address=address, gate_unit=GATE_UNIT)
