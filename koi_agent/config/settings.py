"""All settings: each is a field that carries its key, default, reader and description.

A new setting is a new field. Files, ``cat-config``, the shipped koi-runtime.conf and the tests of
the manual follow from these dataclasses.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from koi_agent.config import readers
from koi_agent.config.dns import DNSConfig
from koi_agent.config.keys import Override, key, keys, section, sections
from koi_agent.config.koi import KoiConfig
from koi_agent.config.kubernetes import KubernetesConfig
from koi_agent.config.proxy import ProxyConfig
from koi_agent.config.sections import (
    DAY,
    CapabilitiesConfig,
    EngineConfig,
    HealthConfig,
    HTTPConfig,
    IncusConfig,
    MachinedConfig,
    SystemdConfig,
)
from koi_agent.core.errors import ConfigError
from koi_agent.core.frozen import frozen

T = TypeVar("T")


class FlagError(ConfigError):
    """A command-line option has an invalid value."""


def _backend_list(value: str) -> tuple[str, ...]:
    return readers.backend_list(value, BACKENDS)


def _runtime_list(value: str) -> tuple[str, ...]:
    return readers.runtime_list(value, BACKENDS)


@frozen(kw_only=True)
class Config:
    """All settings, and ``scope``: "system" or "user".

    ``resync_interval`` is the seconds between two full lists, ``restart_grace`` those that records
    outlive a stop, and ``stale_after`` those that they outlive a lost backend. ``log_level`` is a
    number of ``logging``.

    A section with ``backend=True`` adds a backend of the field's name. ``koi_agent.backends`` has
    a row for the type of the section.
    """

    scope: str
    backends: tuple[str, ...] = key(
        "Backends",
        "auto",
        _backend_list,
        "Backends to follow: names such as docker and systemd, auto for all, or none.",
        override=Override(variable="KOI_RUNTIME", option="--runtime", read=_runtime_list),
    )
    resync_interval: float = key(
        "ResyncInterval",
        "60s",
        readers.span(1, DAY),
        "Time between two full lists of each backend, from 1s to 1d.",
    )
    restart_grace: float = key(
        "RestartGrace",
        "2s",
        readers.span(0, 60),
        "How long an instance stays announced after it stops, from 0 to 60s. If it starts again"
        " within this time, nothing is withdrawn.",
    )
    stale_after: float = key(
        "StaleAfter",
        "10min",
        readers.span(0, 30 * DAY),
        "How long instances stay announced after the connection to their backend is lost, from 0"
        " to 30d.",
    )
    log_level: int = key(
        "LogLevel",
        "info",
        readers.log_level,
        "Log records of this level and of higher priority: emerg, alert, crit, err, warning,"
        " notice, info or debug.",
        override=Override(variable="KOI_LOG_LEVEL", option="--log-level", read=readers.log_level),
    )
    docker: EngineConfig = section("Docker", EngineConfig, backend=True)
    podman: EngineConfig = section("Podman", EngineConfig, backend=True)
    incus: IncusConfig = section("Incus", IncusConfig, backend=True)
    lxd: IncusConfig = section("LXD", IncusConfig, backend=True)
    systemd: SystemdConfig = section("Systemd", SystemdConfig, backend=True)
    machined: MachinedConfig = section("Machined", MachinedConfig, backend=True)
    kubernetes: KubernetesConfig = section("Kubernetes", KubernetesConfig, backend=True)
    http: HTTPConfig = section("HTTP", HTTPConfig)
    capabilities: CapabilitiesConfig = section(
        "Capabilities",
        CapabilitiesConfig,
        "Capabilities act on instances that opt in by metadata.",
    )
    health: HealthConfig = section("Health", HealthConfig)
    dns: DNSConfig = section("DNS", DNSConfig)
    proxy: ProxyConfig = section("Proxy", ProxyConfig)
    koi: KoiConfig = section("Koi", KoiConfig)

    def backend(self, name: str, kind: type[T]) -> T:
        """Return the settings of a backend, whose type is ``kind``."""
        found = getattr(self, name)
        if not isinstance(found, kind):
            raise TypeError(f"backend {name}: its settings are not {kind.__name__}")
        return found


BACKENDS: Final[Mapping[str, type[Any]]] = {
    name: one.kind for name, one in sections(Config).items() if one.backend
}
"""All backends by name, which ``auto`` stands for, and the types of their settings."""
ACCEPTED: Final = readers.accepted(BACKENDS)
"""The names that ``--runtime`` accepts."""
KEYS: Final = tuple(keys(Config, "Runtime"))
"""The table of all settings."""


@frozen(kw_only=True)
class Flags:
    """Options of the command line; ``None`` means that the option was not given."""

    scope: str | None = None
    runtime: str | None = None
    no_runtime: bool = False
    log_level: str | None = None

    def value(self, option: str) -> str | None:
        """Return the value of an option that overrides a key."""
        return {"--runtime": self.runtime, "--log-level": self.log_level}[option]


@frozen(kw_only=True)
class Origin:
    """The source of a value: a line of a file, a variable, an option, or else the default."""

    file: str = ""
    line: int = 0
    variable: str = ""
    flag: str = ""

    def __str__(self) -> str:
        """Format the origin for a message; the caller makes the name of a file printable."""
        return (self.file and f"{self.file}:{self.line}") or self.flag or self.variable or "default"


@frozen(kw_only=True)
class Setting:
    """One assignment in force; several assignments of a list are in force together."""

    section: str
    key: str
    value: str
    origin: Origin


def scope(requested: str | None) -> str:
    """Return the requested scope, or else "system" for root and "user" for other users."""
    return requested or ("system" if os.getuid() == 0 else "user")
