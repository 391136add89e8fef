"""How an instance's health is to be checked: over HTTP or TCP, from this host, by number alone.

Metadata decides; where it says nothing a container is checked by TCP, as upstream does, and a unit
not at all: systemd knows whether it runs, and whether it said that it is ready. What a runtime
checks by itself, again and again, is not checked by us.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Health, Instance, PortMapping, Protocol
from koi_agent.core.ownership import UNITS


class CheckKind(StrEnum):
    """What a check asks for: an answer by HTTP, or no more than a connection."""

    HTTP = "http"
    TCP = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One check; ``interval`` and ``timeout`` are seconds, ``address`` is numeric."""

    kind: CheckKind
    address: str
    port: int
    scheme: str = "http"
    path: str = "/"
    interval: float
    timeout: float

    @property
    def place(self) -> str:
        """Spell address and port as in a URL."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """Say what is asked: a URL, or address and port."""
        http = self.kind is CheckKind.HTTP
        return f"{self.scheme}://{self.place}{self.path}" if http else self.place

    @property
    def words(self) -> str:
        """Say what is done, for a person."""
        how = "GET" if self.kind is CheckKind.HTTP else "connect to"
        return f"{how} {self.target} every {self.interval:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStatus:
    """Where the check of an instance stands.

    Times are microseconds since the epoch, 0 for never.
    """

    key: str
    check: HealthCheck
    health: Health
    last_checked: int = 0
    last_ok: int = 0
    message: str = ""


LONGEST_INTERVAL: Final = 86_400.0
LONGEST_TIMEOUT: Final = 300.0
"""Seconds; a check that hangs takes the place of another."""
ENDING: Final = "deactivating/"
"""How the detail of a unit that is about to stop begins: to connect to its socket now might start
it again."""
LOOPBACKS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def check_of(instance: Instance, interval: float, timeout: float) -> HealthCheck | None:
    """Decide on an instance's check, or that it needs none; raises ``BadInput``."""
    metadata = instance.metadata
    asked = metadata.health_kind or metadata.health_path
    if instance.backend == UNITS and (not asked or instance.state_detail.startswith(ENDING)):
        return None
    if not instance.checked and not yields(instance):
        return None
    if not asked and not any(_published(port) for port in instance.ports):
        return None
    http = metadata.health_kind == "http" or (not metadata.health_kind and metadata.health_path)
    if metadata.health_scheme and not http:
        raise BadInput("a scheme is for checks by HTTP: say the kind, or a path")
    address, port = _place(instance)
    every = min(float(metadata.health_interval or interval), LONGEST_INTERVAL)
    return HealthCheck(
        kind=CheckKind.HTTP if http else CheckKind.TCP,
        address=address,
        port=port,
        scheme=metadata.health_scheme or "http",
        path=metadata.health_path or "/",
        interval=every,
        timeout=min(float(metadata.health_timeout or timeout), LONGEST_TIMEOUT, every),
    )


def yields(instance: Instance) -> bool:
    """Tell whether what a check finds goes before what the runtime says: a unit is ready once."""
    return instance.health is Health.NONE or instance.backend == UNITS


def _place(instance: Instance) -> tuple[str, int]:
    """Choose where to ask; raises ``BadInput``."""
    wanted = instance.metadata.port
    tcp = [port for port in instance.ports if port.protocol is Protocol.TCP]
    ports = [port for port in tcp if wanted in (None, port.container_port)]
    if not ports:
        raise BadInput("there is no TCP port to ask at")
    for mapping in sorted(ports, key=_order):
        for place in _places(mapping, instance.ips):
            return place
    raise BadInput("no address to ask at is known")


def _published(port: PortMapping) -> bool:
    """Tell whether a port is there for others, and not only said to be by an image."""
    return port.protocol is Protocol.TCP and port.host_port != 0


def _order(mapping: PortMapping) -> tuple[bool, int, bool, str]:
    """Rank ports: those that are published, the lowest of them, and IPv4 first, as with offers."""
    mapped = mapping.host_port
    return not mapped, mapping.container_port, ":" in mapping.host_ip, mapping.host_ip


def _places(mapping: PortMapping, ips: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Tell where this host reaches a port: at its own address, or the instance's."""
    if mapping.host_port:
        host = LOOPBACKS.get(mapping.host_ip, mapping.host_ip)
        return _numeric((host,), mapping.host_port)
    return _numeric(ips, mapping.container_port)


def _numeric(addresses: Iterable[str], number: int) -> Iterator[tuple[str, int]]:
    for address in addresses:
        try:
            parsed = ip_address(address)
        except ValueError:
            continue
        if not parsed.is_link_local and not parsed.is_multicast:
            yield str(parsed), number
