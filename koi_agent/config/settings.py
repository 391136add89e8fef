"""All settings: each is a field that carries its key, default, reader and description.

A new setting is a new field. Files, ``cat-config``, the shipped koi-runtime.conf and the tests of
the manual follow from these dataclasses.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from koi_agent.config import readers
from koi_agent.config.keys import Assignments, Override, key, keys, section, sections
from koi_agent.config.readers import Listen
from koi_agent.core.errors import ConfigError
from koi_agent.core.metadata.values import unit_boolean

DAY: Final = 86_400
"""Seconds of a day."""

T = TypeVar("T")


class FlagError(ConfigError):
    """A command-line option has an invalid value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Settings of one container engine; ``socket`` is a path, or "" to search for the socket."""

    socket: str = key(
        "Socket",
        "",
        readers.engine_socket,
        "Path of the engine's socket. If empty, the usual sockets are tried: those in DOCKER_HOST"
        " or CONTAINER_HOST, that of the gate, and that of the engine.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemdConfig:
    """Settings of the systemd backend.

    Services are followed if a pattern of ``units`` matches and none of ``exclude_units`` does.
    ``track_exited`` also follows services in the state ``active (exited)``.
    """

    units: tuple[str, ...] = key(
        "Units",
        "*.service",
        readers.unit_patterns,
        "Services to follow: names and glob patterns. Assignments are combined; the first one"
        " replaces the default.",
        assignments=Assignments.LIST,
    )
    exclude_units: tuple[str, ...] = key(
        "ExcludeUnits",
        "user@*.service user-runtime-dir@*.service systemd-*.service",
        readers.unit_patterns,
        "Services not to follow. Assignments are combined; an empty one excludes nothing.",
        assignments=Assignments.EMPTIABLE_LIST,
    )
    track_exited: bool = key(
        "TrackExited",
        "no",
        unit_boolean,
        'Whether services in the state "active (exited)" are tracked as running.',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPConfig:
    """Settings of HTTP: ``listen`` besides the sockets of systemd, ``hosts`` besides own names."""

    listen: tuple[Listen, ...] = key(
        "Listen",
        "",
        readers.listeners,
        "Sockets on which HTTP is served, in addition to koi-runtime.socket. A port number alone"
        " binds to loopback: 8080, 192.0.2.1:8080, [2001:db8::1]:8080, *:8080 or /path/to/socket.",
        assignments=Assignments.EMPTIABLE_LIST,
    )
    hosts: tuple[str, ...] = key(
        "Hosts",
        "",
        readers.hosts,
        "Names and addresses by which requests on TCP may name this host, in addition to its own.",
        assignments=Assignments.EMPTIABLE_LIST,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilitiesConfig:
    """Which capabilities are on.

    ``mdns`` is auto, off or the name of the provider. ``health`` is auto or off.
    ``partner_labels`` is True if the labels of a reverse proxy opt in, ``image_labels`` if metadata
    of images counts. A name is given if ``allow_names`` has it and ``deny_names`` does not.
    """

    mdns: str = key(
        "MDNS",
        "auto",
        readers.one_of("auto", "off", "avahi", "resolved"),
        "Provider of mDNS announcements: avahi, resolved (services only), auto or off.",
    )
    health: str = key(
        "Health",
        "auto",
        readers.one_of("auto", "off"),
        "Whether the agent checks health where the engine does not: auto or off.",
    )
    partner_labels: bool = key(
        "PartnerLabels",
        "yes",
        unit_boolean,
        "Whether containers whose labels configure Traefik or Caddy opt in.",
    )
    image_labels: bool = key(
        "ImageLabels",
        "no",
        unit_boolean,
        "Whether metadata that a container has from its image counts.",
    )
    allow_names: tuple[str, ...] = key(
        "AllowNames",
        "*",
        readers.name_patterns,
        "Names that instances may have on the network: glob patterns. Assignments are combined; the"
        " first one replaces the default.",
        assignments=Assignments.LIST,
    )
    deny_names: tuple[str, ...] = key(
        "DenyNames",
        "",
        readers.name_patterns,
        "Names that no instance may have: glob patterns, which override AllowNames=. Assignments"
        " are combined; an empty one denies nothing.",
        assignments=Assignments.EMPTIABLE_LIST,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """Settings of health checks; metadata of an instance overrides ``interval`` and ``timeout``.

    Both are seconds. ``unhealthy_after`` is the number of consecutive failures.
    """

    interval: float = key(
        "Interval",
        "30s",
        readers.span(1, DAY),
        "Time between two checks, from 1s to 1d. Metadata overrides it.",
    )
    timeout: float = key(
        "Timeout",
        "5s",
        readers.span(1, 300),
        "Time after which a check fails, from 1s to 300s. Metadata overrides it.",
    )
    unhealthy_after: int = key(
        "UnhealthyAfter",
        "3",
        readers.number(1, 100),
        "Number of consecutive failures after which an instance is unhealthy, 1 to 100.",
    )
    withdraw_unhealthy: bool = key(
        "WithdrawUnhealthy",
        "yes",
        unit_boolean,
        "Whether announcements of an unhealthy instance are withdrawn until it recovers.",
    )


def _backend_list(value: str) -> tuple[str, ...]:
    return readers.backend_list(value, BACKENDS)


def _runtime_list(value: str) -> tuple[str, ...]:
    return readers.runtime_list(value, BACKENDS)


@dataclass(frozen=True, slots=True, kw_only=True)
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
    systemd: SystemdConfig = section("Systemd", SystemdConfig, backend=True)
    http: HTTPConfig = section("HTTP", HTTPConfig)
    capabilities: CapabilitiesConfig = section(
        "Capabilities",
        CapabilitiesConfig,
        "Capabilities act on instances that opt in by metadata.",
    )
    health: HealthConfig = section("Health", HealthConfig)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Options of the command line; ``None`` means that the option was not given."""

    scope: str | None = None
    runtime: str | None = None
    no_runtime: bool = False
    log_level: str | None = None

    def value(self, option: str) -> str | None:
        """Return the value of an option that overrides a key."""
        return {"--runtime": self.runtime, "--log-level": self.log_level}[option]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The source of a value: a line of a file, a variable, an option, or else the default."""

    file: str = ""
    line: int = 0
    variable: str = ""
    flag: str = ""

    def __str__(self) -> str:
        """Format the origin for a message; the caller makes the name of a file printable."""
        return (self.file and f"{self.file}:{self.line}") or self.flag or self.variable or "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One assignment in force; several assignments of a list are in force together."""

    section: str
    key: str
    value: str
    origin: Origin


def scope(requested: str | None) -> str:
    """Return the requested scope, or else "system" for root and "user" for other users."""
    return requested or ("system" if os.getuid() == 0 else "user")
