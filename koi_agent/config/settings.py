"""What can be set, as values: one frozen ``Config``, and what it was asked by."""

import os
from dataclasses import dataclass, field

from koi_agent.core.errors import ConfigError
from koi_agent.core.messages import LEVELS

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
class Config:
    """Everything that can be set; ``resync_interval`` is seconds between full lists.

    ``restart_grace`` is the seconds that a stop is not believed by whoever acts on it.
    ``log_level`` is a number of ``logging``.
    """

    scope: str
    backends: tuple[str, ...] = BACKENDS
    log_level: int = LEVELS["info"]
    resync_interval: float = 60.0
    restart_grace: float = 2.0
    docker: EngineConfig = field(default_factory=EngineConfig)
    podman: EngineConfig = field(default_factory=EngineConfig)
    systemd: SystemdConfig = field(default_factory=SystemdConfig)
    http: HTTPConfig = field(default_factory=HTTPConfig)


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
