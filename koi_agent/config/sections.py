"""The sections of the configuration files, each with its settings."""

from typing import Final

from koi_agent.config import readers
from koi_agent.config.keys import Assignments, key
from koi_agent.config.readers import Listen
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.values import unit_boolean

DAY: Final = 86_400
"""Seconds of a day."""


@frozen(kw_only=True)
class EngineConfig:
    """Settings of one container engine; ``socket`` is a path, or "" to search for the socket."""

    socket: str = key(
        "Socket",
        "",
        readers.engine_socket,
        "Path of the engine's socket. If empty, the usual sockets are tried: those in DOCKER_HOST"
        " or CONTAINER_HOST, that of the gate, and that of the engine.",
    )


@frozen(kw_only=True)
class IncusConfig:
    """Settings of Incus or LXD; ``socket`` is a path, or "" for the usual sockets.

    Instances of a project are followed if a pattern of ``projects`` matches its name.
    """

    socket: str = key(
        "Socket",
        "",
        readers.engine_socket,
        "Path of the server's socket. If empty, the usual sockets are tried: that of the gate, and"
        " that of the server.",
    )
    projects: tuple[str, ...] = key(
        "Projects",
        "*",
        readers.project_patterns,
        "Projects to follow: names and glob patterns. Assignments are combined; the first one"
        " replaces the default.",
        assignments=Assignments.LIST,
    )


@frozen(kw_only=True)
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


@frozen(kw_only=True)
class MachinedConfig:
    """Settings of the machined backend: patterns of the names of machines, and of exceptions."""

    machines: tuple[str, ...] = key(
        "Machines",
        "*",
        readers.machine_patterns,
        "Machines to follow: names and glob patterns. Assignments are combined; the first one"
        " replaces the default.",
        assignments=Assignments.LIST,
    )
    exclude_machines: tuple[str, ...] = key(
        "ExcludeMachines",
        "",
        readers.machine_patterns,
        "Machines not to follow. Assignments are combined; an empty one excludes nothing.",
        assignments=Assignments.EMPTIABLE_LIST,
    )


@frozen(kw_only=True)
class HTTPConfig:
    """Settings of HTTP.

    ``listen`` are sockets besides those that systemd passes. ``hosts`` are names and addresses that
    requests may use for this host besides its own.
    """

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


@frozen(kw_only=True)
class CapabilitiesConfig:
    """Which capabilities are on.

    ``mdns`` is auto, off or the name of the provider. ``dns`` and ``proxy`` are auto, off or the
    names of outlets. ``health`` is auto or off.
    ``partner_labels`` is True if the labels of a reverse proxy opt in, ``image_labels`` if metadata
    of images counts. A name is given if ``allow_names`` has it and ``deny_names`` does not.
    """

    mdns: str = key(
        "MDNS",
        "auto",
        readers.one_of("auto", "off", "avahi", "resolved", "koi"),
        "Provider of mDNS announcements: avahi, resolved (services only), koi (a Koi daemon, or one"
        " of the others while it does not run), auto or off.",
    )
    dns: tuple[str, ...] = key(
        "DNS",
        "auto",
        readers.outlets("static", "hook", "server", "hosts", "update", "webhook", "koi"),
        "Outlets of DNS names: static, hook, server, hosts, update, webhook, koi, several, off, or"
        " auto: static where systemd-resolved has it, and those that [DNS] and [Koi] configure.",
    )
    proxy: tuple[str, ...] = key(
        "Proxy",
        "auto",
        readers.outlets("caddy", "traefik", "koi"),
        "Proxies that serve instances with TLS: caddy, traefik, koi, several, off, or auto for"
        " those that [Proxy] and [Koi] configure.",
    )
    health: str = key(
        "Health",
        "auto",
        readers.one_of("auto", "off", "koi"),
        "Whether the agent checks health where the engine does not: auto, off, or koi (by a Koi"
        " daemon while it runs).",
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


@frozen(kw_only=True)
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
