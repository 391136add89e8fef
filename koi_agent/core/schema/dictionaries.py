"""The entries of the dictionaries that an instance's properties hold.

Their keys are the same on D-Bus and in JSON.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar

from koi_agent.core.instance import (
    EnabledBy,
    KoiMetadata,
    PortMapping,
    PortMetadata,
    PortSource,
    Protocol,
    RecordState,
    RecordStatus,
)
from koi_agent.core.metadata import service_types
from koi_agent.core.schema.tables import Row, Table, Type, map_of
from koi_agent.core.schema.types import (
    BOOLEAN,
    LONG_NUMBER,
    PAIRS,
    PORT_NUMBER,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    TIME,
    enumeration,
)

T = TypeVar("T")


class InstancePort(NamedTuple):
    """A port and the metadata of its instance, which may name the port's service type.

    ``http`` is the instance's ``service_types.http_port``.
    """

    mapping: PortMapping
    metadata: KoiMetadata
    http: int

    @property
    def service_type(self) -> str:
        port, protocol = self.mapping.container_port, self.mapping.protocol
        return service_types.resolve(port, protocol, self.metadata, self.http)


def _entry(key: str, kind: Type, get: Callable[[T], Any], text: str) -> Row[T]:
    """Return the row of an entry that is always there."""
    return Row(key, key, kind, get, text)


def _optional(key: str, kind: Type, text: str, get: Callable[[Any], Any] | None = None) -> Row[Any]:
    """Return the row of an entry that is left out where its attribute is ``None``."""
    return Row(key, key, kind, get or attrgetter(key), text, optional=True)


def _texts(attribute: str) -> Callable[[Any], list[str] | None]:
    def get(metadata: KoiMetadata | PortMetadata) -> list[str] | None:
        return list(getattr(metadata, attribute) or ()) or None

    return get


def _txt(metadata: KoiMetadata | PortMetadata) -> dict[str, str] | None:
    return dict(metadata.txt) or None


def _ports(metadata: KoiMetadata) -> dict[str, dict[str, Any]] | None:
    ports = {
        f"{port}/{protocol}": PORT_METADATA.values(of_port)
        for (port, protocol), of_port in metadata.ports
    }
    return ports or None


PORT: Final[Table[InstancePort]] = Table(
    "Port",
    "A port of an instance, and one way to reach it.",
    (
        _entry(
            "host_port", PORT_NUMBER, lambda p: p.mapping.host_port, "Port on this host; 0 if none."
        ),
        _entry(
            "container_port", PORT_NUMBER, lambda p: p.mapping.container_port, "Port it listens on."
        ),
        _entry("protocol", enumeration(Protocol), lambda p: str(p.mapping.protocol), "Transport."),
        _entry("host_ip", TEXT, lambda p: p.mapping.host_ip, "Bound address, or empty."),
        _entry(
            "source",
            enumeration(PortSource),
            lambda p: str(p.mapping.source),
            "Source of the port: the runtime, a listening socket, or metadata alone.",
        ),
        _entry(
            "interface",
            TEXT_OR_NULL,
            lambda p: p.mapping.interface,
            "Interface that the socket is bound to; empty for any.",
        ),
        _entry(
            "ipv6_only",
            BOOLEAN,
            lambda p: p.mapping.is_v6only,
            "Whether a bind to all IPv6 addresses leaves out IPv4.",
        ),
        _entry("type", TEXT, lambda p: p.service_type, "DNS-SD service type it is announced as."),
    ),
)
PORT_METADATA: Final[Table[PortMetadata]] = Table(
    "PortMetadata",
    "Metadata of one port; a key that is not set is left out.",
    (
        _optional("type", TEXT, "DNS-SD service type."),
        _optional("subtypes", TEXTS, "DNS-SD subtypes.", _texts("subtypes")),
        _optional("name", TEXT, "DNS-SD service name."),
        _optional("txt", PAIRS, "Strings of the TXT record.", _txt),
    ),
)
METADATA: Final[Table[KoiMetadata]] = Table(
    "Metadata",
    "Metadata of an instance; a key that is not set is left out.",
    (
        _optional("enable", BOOLEAN, "Whether the instance opted in (true) or out (false)."),
        _optional("mdns_enable", BOOLEAN, "Whether it is announced by mDNS, if it opted in."),
        _optional("dns_enable", BOOLEAN, "Whether it has a name in DNS, if it opted in."),
        _optional("health_enable", BOOLEAN, "Whether the agent may check it, if it opted in."),
        _optional("proxy_enable", BOOLEAN, "Whether a proxy may serve it, if it opted in."),
        _optional("service_type", TEXT, "DNS-SD service type of all ports."),
        _optional("name", TEXT, "DNS-SD service name."),
        _optional("dns_name", TEXT, "DNS name."),
        _optional("port", PORT_NUMBER, "Port that serves."),
        _optional("health_path", TEXT, "Path that an HTTP health check requests."),
        _optional("health_kind", TEXT, "How health is checked: http or tcp."),
        _optional("health_scheme", TEXT, "Scheme of an HTTP health check: http or https."),
        _optional("health_host", TEXT, "Host header of an HTTP health check."),
        _optional("health_interval", LONG_NUMBER, "Seconds between two health checks."),
        _optional("health_timeout", LONG_NUMBER, "Seconds that a health check may take."),
        _optional("proxy_port", PORT_NUMBER, "TLS port that a proxy listens on."),
        _optional("proxy_scheme", TEXT, "Scheme behind the proxy: http or https."),
        _optional("proxy_remote", BOOLEAN, "Whether the proxy may use upstreams on other hosts."),
        _optional("certmesh", BOOLEAN, "Whether a certificate of the mesh is requested."),
        _optional("source", TEXT, "Proxy labels that values were taken from."),
        _optional(
            "enabled_by",
            enumeration(EnabledBy),
            "Source of the decision to opt in or out.",
            lambda m: m.enabled_by and str(m.enabled_by),
        ),
        _optional("subtypes", TEXTS, "DNS-SD subtypes.", _texts("subtypes")),
        _optional("txt", PAIRS, "Strings of the TXT record.", _txt),
        _optional("ports", map_of(PORT_METADATA), "Metadata of single ports, as 53/udp.", _ports),
    ),
)
ANNOUNCEMENT: Final[Table[RecordStatus]] = Table(
    "Announcement",
    "Status of a record that an instance requests.",
    (
        _entry("capability", TEXT, lambda a: a.capability, "Capability the record belongs to."),
        _entry("provider", TEXT_OR_NULL, lambda a: a.provider, "Provider that publishes it."),
        _entry("name", TEXT, lambda a: a.name, "Name of the record."),
        _entry("status", enumeration(RecordState), lambda a: str(a.state), "State of the record."),
        _entry("reason", TEXT_OR_NULL, lambda a: a.reason, "Why it is not announced."),
        _entry("since", TIME, lambda a: a.since, "Time of the last change of its state."),
    ),
)
