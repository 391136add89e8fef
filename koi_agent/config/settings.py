"""What can be set, as values: one frozen ``Config``, and what it was asked by."""

import os
from dataclasses import dataclass, field

from koi_agent.core.errors import ConfigError
from koi_agent.core.message_ids import LEVELS

BACKENDS = ("docker", "podman", "systemd")
"""What this version can follow, and what ``auto`` means."""


class FlagError(ConfigError):
    """What was typed can't be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Where a container engine is: the path of its socket, empty for wherever it is found."""

    socket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemdConfig:
    """Which units are followed: names that match ``units`` and not ``exclude_units``.

    Both are lists of systemd's own glob patterns. ``track_exited`` follows units that are
    ``active/exited``, too.
    """

    units: tuple[str, ...] = ("*.service",)
    exclude_units: tuple[str, ...] = (
        "user@*.service",
        "user-runtime-dir@*.service",
        "systemd-*.service",
    )
    track_exited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """One socket to bind: a TCP port of an IP address, or else the path of a Unix socket.

    ``::`` is meant as all IPv6 addresses and no IPv4 one.
    """

    host: str = ""
    port: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPConfig:
    """Where HTTP is served beyond the socket that systemd passes."""

    listen: tuple[Listen, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilitiesConfig:
    """What is done for what opts in: ``mdns`` is auto, off or the name of what does it.

    ``health`` is auto or off. ``partner_labels`` tells whether a reverse proxy's labels opt in.
    """

    mdns: str = "auto"
    health: str = "auto"
    partner_labels: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """How health is checked, where metadata says nothing else, and what it means to the network.

    ``interval`` and ``timeout`` are seconds; ``unhealthy_after`` is how many checks in a row have
    to fail.
    """

    interval: float = 30.0
    timeout: float = 5.0
    unhealthy_after: int = 3
    withdraw_unhealthy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set; ``resync_interval`` is seconds between full lists.

    ``stale_after`` is the seconds that a lost backend's instances are believed in by whoever acts
    on them, and ``restart_grace`` those that a stop is not believed.
    ``log_level`` is a number of ``logging``.
    """

    scope: str
    backends: tuple[str, ...] = BACKENDS
    log_level: int = LEVELS["info"]
    resync_interval: float = 60.0
    restart_grace: float = 2.0
    stale_after: float = 600.0
    docker: EngineConfig = field(default_factory=EngineConfig)
    podman: EngineConfig = field(default_factory=EngineConfig)
    systemd: SystemdConfig = field(default_factory=SystemdConfig)
    http: HTTPConfig = field(default_factory=HTTPConfig)
    capabilities: CapabilitiesConfig = field(default_factory=CapabilitiesConfig)
    health: HealthConfig = field(default_factory=HealthConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What was typed; ``None`` is what was not."""

    scope: str | None = None
    runtime: str | None = None
    no_runtime: bool = False
    log_level: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who said a value: a line of a file, a variable or a flag; nobody, if it is the default."""

    file: str = ""
    line: int = 0
    variable: str = ""
    flag: str = ""

    def __str__(self) -> str:
        """Say it in a message; what is in a file's name is not made printable."""
        return (self.file and f"{self.file}:{self.line}") or self.flag or self.variable or "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One assignment in force; the assignments of a list add up."""

    section: str
    key: str
    value: str
    origin: Origin


def scope(asked: str | None) -> str:
    """Decide between the system's manager and the user's: root's is the system's."""
    return asked or ("system" if os.getuid() == 0 else "user")
