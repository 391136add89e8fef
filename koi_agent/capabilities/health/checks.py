"""Health checks: how an instance is checked, from this host, at a numeric address.

Metadata decides. Without metadata a container's published port is checked by TCP, as upstream
does. A unit is not checked: systemd knows whether it runs and whether it is ready. A health that
the runtime checks itself is not checked again.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import CheckKind, Instance, PortMapping, Protocol, RecordState
from koi_agent.core.key import Key
from koi_agent.core.plan.records import Decision, Subject
from koi_agent.core.plan.requests import Award

CHECK: Final = "health check"
LONGEST_INTERVAL: Final = 86_400.0
LONGEST_TIMEOUT: Final = 300.0
"""Seconds. A check that hangs occupies the slot of another."""
_LOOPBACKS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One check. It is a request to the health capability and the record for its prober.

    ``interval`` and ``timeout`` are seconds, ``address`` is numeric. ``unhealthy_after`` is the
    number of failures in a row that make an instance unhealthy. ``host`` is the Host field of an
    HTTP request; without it, it is ``endpoint``.
    """

    kind: CheckKind
    address: str
    port: int
    scheme: str = "http"
    path: str = "/"
    host: str = ""
    interval: float
    timeout: float
    unhealthy_after: int

    @property
    def contest(self) -> Hashable:
        """Checks do not compete."""
        return None

    @property
    def endpoint(self) -> str:
        """Address and port, as in a URL."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """The URL of an HTTP check; address and port of a TCP check."""
        http = self.kind is CheckKind.HTTP
        return f"{self.scheme}://{self.endpoint}{self.path}" if http else self.endpoint

    @property
    def name(self) -> str:
        """The target."""
        return self.target

    @property
    def title(self) -> str:
        """The target."""
        return self.target

    def record(self, _owner: Key, _award: Award) -> "HealthCheck":
        """Return the check itself."""
        return self

    def decision(self, _award: Award) -> Decision:
        """Describe the check."""
        action = "GET" if self.kind is CheckKind.HTTP else "connect to"
        host = f" with Host: {self.host}" if self.host else ""
        reason = f"{action} {self.target}{host} every {self.interval:g} s"
        wanted = RecordState.WANTED
        return Decision(subject=Subject.CHECK, about=CHECK, state=wanted, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The values of a check that metadata does not set; times are seconds."""

    interval: float = 30.0
    timeout: float = 5.0
    unhealthy_after: int = 3


def check_of(instance: Instance, defaults: Defaults) -> HealthCheck | None:
    """Return the check of an instance, None if it needs none; raise ``BadInput`` if it can't be."""
    metadata = instance.metadata
    if not _needs_check(instance):
        return None
    http = metadata.health_kind == "http" or (not metadata.health_kind and metadata.health_path)
    if (metadata.health_scheme or metadata.health_host) and not http:
        raise BadInput("a scheme or a host needs a check by HTTP: set the kind, or a path")
    address, port = _target(instance)
    interval = min(float(metadata.health_interval or defaults.interval), LONGEST_INTERVAL)
    timeout = float(metadata.health_timeout or defaults.timeout)
    return HealthCheck(
        kind=CheckKind.HTTP if http else CheckKind.TCP,
        address=address,
        port=port,
        scheme=metadata.health_scheme or "http",
        path=metadata.health_path or "/",
        interval=interval,
        timeout=min(timeout, LONGEST_TIMEOUT, interval),
        unhealthy_after=defaults.unhealthy_after,
    )


def _needs_check(instance: Instance) -> bool:
    if instance.ending or not (instance.checked or instance.accepts_checks):
        return False
    if instance.metadata.health_kind or instance.metadata.health_path:
        return True
    return instance.traits.is_checked and any(_is_published(port) for port in instance.ports)


def _target(instance: Instance) -> tuple[str, int]:
    """Return the address and port to check; raise ``BadInput`` without one."""
    wanted = instance.metadata.port
    tcp = [port for port in instance.ports if port.protocol is Protocol.TCP]
    ports = [port for port in tcp if wanted in (None, port.container_port)]
    if not ports:
        raise BadInput("there is no TCP port to check")
    for mapping in sorted(ports, key=_order):
        for target in _targets(mapping, instance.ips):
            return target
    raise BadInput("no address to check is known")


def _is_published(port: PortMapping) -> bool:
    """Return True for a port of this host; an image may also expose ports without publishing."""
    return port.protocol is Protocol.TCP and port.host_port != 0


def _order(mapping: PortMapping) -> tuple[bool, int, bool, str]:
    """Rank ports: published first, then the lowest, then IPv4, as for endpoints."""
    mapped = mapping.host_port
    return not mapped, mapping.container_port, ":" in mapping.host_ip, mapping.host_ip


def _targets(mapping: PortMapping, ips: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Yield where this host reaches a port: at its own address, or at the instance's."""
    if mapping.host_port:
        host = _LOOPBACKS.get(mapping.host_ip, mapping.host_ip)
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
