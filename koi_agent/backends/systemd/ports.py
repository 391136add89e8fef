"""The ports that a unit serves: its listeners, the sockets that trigger it, what it declares.

``koi_agent.host.listeners`` finds the listeners of a unit. The rules here are pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from koi_agent.backends.systemd.sockets import SocketTable
from koi_agent.core.instance import KoiMetadata, PortMapping
from koi_agent.core.ports import declared, merge_binds
from koi_agent.host.listeners import (
    EPHEMERAL,
    ListenersByOwner,
    ephemeral_ports,
    is_declared,
    served,
)
from koi_agent.host.sock_diag import Listener

PRIVATE_NETWORK_NOTE: Final = (
    "the unit has a network namespace of its own: its listeners can't be seen from here"
)

CONTAINER_PROXIES: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(
        ("docker.service", "snap.docker.dockerd.service"),
        "its listeners are docker-proxy's, which serve containers: only declared ports count",
    )
)
"""Units whose control group holds listeners that serve containers, and why."""


def unit_ports(
    unit: str,
    listeners: Iterable[Listener],
    metadata: KoiMetadata,
    *,
    sockets: Iterable[PortMapping] = (),
    ephemeral: range = EPHEMERAL,
) -> tuple[PortMapping, ...]:
    """Return the ports that a unit serves, sorted.

    ``sockets`` are the ports of the ``.socket`` units that trigger it. They belong to the unit
    even where PID 1 created them. A declared port without a listener is added.
    """
    if unit in CONTAINER_PROXIES:
        listeners = [listener for listener in listeners if is_declared(listener, metadata)]
    own = served(listeners, metadata, ephemeral=ephemeral)
    found = [*merge_binds([*own, *sockets])]
    seen = {(mapping.container_port, mapping.protocol) for mapping in found}
    return tuple(sorted([*found, *declared(metadata, seen)]))


class UnitPorts:
    """The ports of units by the listeners that were found last and the sockets that listen."""

    def __init__(self, sockets: SocketTable) -> None:
        self._sockets = sockets
        self._listeners = ListenersByOwner()
        self._ephemeral = ephemeral_ports()

    def of(self, unit: str, metadata: KoiMetadata) -> tuple[PortMapping, ...]:
        """Return the ports that a unit serves now, sorted."""
        return unit_ports(
            unit,
            self._listeners.of(unit),
            metadata,
            sockets=self._sockets.ports_of(unit),
            ephemeral=self._ephemeral,
        )

    def of_sockets(self, unit: str) -> tuple[PortMapping, ...]:
        """Return the ports of the socket units that trigger a unit, sorted."""
        return tuple(sorted(self._sockets.ports_of(unit)))

    def update(self, listeners: Sequence[Listener], control_groups: Mapping[str, str]) -> set[str]:
        """Store the listeners of the host; returns the units whose listeners have changed.

        ``control_groups`` are those of all followed units, by name.
        """
        return self._listeners.update(listeners, control_groups)
