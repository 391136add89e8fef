"""Health checks: how an instance is checked, from this host, at a numeric address.

Metadata decides. Without metadata a container's published port is checked by TCP, as upstream does.
A unit is not checked: systemd knows whether it runs and whether it is ready. If the runtime itself
checks the health, the agent does not.
"""

from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import (
    CheckKind,
    Instance,
    PortMapping,
    PortSource,
    Protocol,
    RecordState,
)
from koi_agent.core.key import Key
from koi_agent.core.plan.records import Decision, Subject
from koi_agent.core.plan.requests import Award
from koi_agent.core.ports import serving_binds
from koi_agent.core.reach.local import NotFromHere, Target, targets
from koi_agent.core.reach.network import UNKNOWN, HostNetwork

CHECK: Final = "health check"
LONGEST_INTERVAL: Final = 86_400.0
LONGEST_TIMEOUT: Final = 300.0
"""Longest timeout in seconds. A check that hangs occupies the slot of another."""


@frozen(kw_only=True)
class HealthCheck:
    """One check. It is a request to the health capability and the record for its prober.

    ``targets`` are tried in order: the check fails if all of them fail. Without any, ``obstacle``
    is the reason why this host can't check. ``interval`` and ``timeout`` are seconds.
    ``unhealthy_after`` is the number of failures in a row that make an instance unhealthy.
    ``host`` is the Host field of an HTTP request; without it, it is the target's address and port.
    """

    kind: CheckKind
    targets: tuple[Target, ...]
    obstacle: str = ""
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
    def target(self) -> str:
        """The URL of an HTTP check; address and port of a TCP check; the first one of several."""
        if not self.targets:
            return ""
        http = self.kind is CheckKind.HTTP
        endpoint = self.targets[0].text
        return f"{self.scheme}://{endpoint}{self.path}" if http else endpoint

    def has_same_target(self, other: "HealthCheck") -> bool:
        """Return True if the other check asks the same question: only its thresholds differ."""
        same = replace(
            other,
            interval=self.interval,
            timeout=self.timeout,
            unhealthy_after=self.unhealthy_after,
        )
        return same == self

    @property
    def name(self) -> str:
        """The target, or ``CHECK`` without one: an award with an empty name would be a refusal."""
        return self.target or CHECK

    @property
    def title(self) -> str:
        """The name."""
        return self.name

    def record(self, _owner: Key, _award: Award) -> "HealthCheck":
        """Return the check itself."""
        return self

    def decision(self, _award: Award) -> Decision:
        """Describe the check."""
        action = "GET" if self.kind is CheckKind.HTTP else "connect to"
        host = f" with Host: {self.host}" if self.host else ""
        reason = f"{action} {self.target}{host} every {self.interval:g} s"
        state = RecordState.WANTED
        if self.obstacle:
            reason, state = f"not possible from this host: {self.obstacle}", RecordState.HELD
        return Decision(subject=Subject.CHECK, about=CHECK, state=state, reason=reason)


@frozen(kw_only=True)
class Defaults:
    """The values of a check that metadata does not set; times are seconds."""

    interval: float = 30.0
    timeout: float = 5.0
    unhealthy_after: int = 3


def check_of(
    instance: Instance, defaults: Defaults, network: HostNetwork = UNKNOWN
) -> HealthCheck | None:
    """Return the check of an instance, None if it needs none; raise ``BadInput`` if it can't be."""
    metadata = instance.metadata
    if not _needs_check(instance):
        return None
    http = metadata.health_kind == "http" or (not metadata.health_kind and metadata.health_path)
    if (metadata.health_scheme or metadata.health_host) and not http:
        raise BadInput("a scheme or a host needs a check by HTTP: set the kind, or a path")
    mappings = serving_binds(instance)
    if not mappings:
        raise BadInput("there is no TCP port to check")
    found, obstacle = _targets(instance, mappings, network, past_proxy=not http)
    interval = min(float(metadata.health_interval or defaults.interval), LONGEST_INTERVAL)
    timeout = float(metadata.health_timeout or defaults.timeout)
    return HealthCheck(
        kind=CheckKind.HTTP if http else CheckKind.TCP,
        targets=found,
        obstacle=obstacle,
        scheme=metadata.health_scheme or "http",
        path=metadata.health_path or "/",
        interval=interval,
        timeout=min(timeout, LONGEST_TIMEOUT, interval),
        unhealthy_after=defaults.unhealthy_after,
    )


def _needs_check(instance: Instance) -> bool:
    if instance.metadata.health_enable is False:
        return False
    if instance.ending or not (instance.checked or instance.accepts_checks):
        return False
    if instance.metadata.health_kind or instance.metadata.health_path:
        return True
    return instance.traits.is_checked and any(_is_published(port) for port in instance.ports)


def _is_published(port: PortMapping) -> bool:
    """Return True for a port of this host; an image may also expose ports without publishing."""
    is_published = port.host_port != 0 and port.source is not PortSource.CLUSTER
    return port.protocol is Protocol.TCP and is_published


def _targets(
    instance: Instance, mappings: Iterable[PortMapping], network: HostNetwork, *, past_proxy: bool
) -> tuple[tuple[Target, ...], str]:
    """Return where this host reaches a port by any of its binds, or why it does not."""
    found: dict[Target, None] = {}
    obstacle = ""
    for mapping in mappings:
        try:
            found.update(dict.fromkeys(targets(instance, mapping, network, past_proxy=past_proxy)))
        except NotFromHere as reason:
            obstacle = obstacle or str(reason)
    return tuple(found), "" if found else obstacle
