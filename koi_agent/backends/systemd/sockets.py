"""Socket units: not instances themselves, but what the services they trigger listen on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from koi_agent.backends.systemd.listeners import socket_ports
from koi_agent.backends.systemd.manager import SOCKET, UNIT
from koi_agent.core.instance import PortMapping

WANTED = ((SOCKET, "Listen"), (SOCKET, "Accept"), (UNIT, "Triggers"))


@dataclass(frozen=True, slots=True)
class Opened:
    """A socket unit that listens: its ports, and the services they lead to."""

    ports: tuple[PortMapping, ...]
    services: frozenset[str]


class Sockets:
    """The socket units that listen now.

    ``accepting`` have, or had when they listened last, a service for each connection: such
    services outlive their socket.
    """

    def __init__(self) -> None:
        self.accepting: set[str] = set()
        self._opened: dict[str, Opened] = {}
        self._fresh: set[str] = set()

    def opened(self, name: str, values: Mapping[str, Any]) -> frozenset[str]:
        """Note a socket by its properties; returns the services it concerns."""
        self._fresh.add(name)
        if values.get("Accept"):
            self.accepting.add(name)
            return frozenset()
        self.accepting.discard(name)
        ports = socket_ports([(kind, where) for kind, where in values.get("Listen", ())])
        opened = Opened(ports, frozenset(values.get("Triggers", ())))
        self._opened[name] = opened
        return opened.services

    def closed(self, name: str) -> frozenset[str]:
        """Forget a socket; returns the services it concerned."""
        self._fresh.discard(name)
        opened = self._opened.pop(name, None)
        return opened.services if opened else frozenset()

    def names(self) -> set[str]:
        """Name the sockets that are thought to listen."""
        return set(self._opened)

    def fresh(self, name: str) -> bool:
        """Tell whether a socket's properties are known from after the last reload."""
        return name in self._fresh

    def reloaded(self) -> None:
        """Take note that systemd has read all files again."""
        self._fresh.clear()

    def ports(self, service: str) -> list[PortMapping]:
        """Tell the ports that lead to a service."""
        return [
            port
            for opened in self._opened.values()
            if service in opened.services
            for port in opened.ports
        ]
