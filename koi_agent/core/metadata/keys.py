"""The keys of the koi namespace, and how each kind of runtime spells them.

``KEYS`` is the only list: parser, manual and tests follow it, and a new key is one row. In the
name of a row, ``<k>`` stands for the key of a TXT string and ``<port>`` for one port.

============ =============================== ==================================
spelling     ``health.path``                 ``<port>.type``
============ =============================== ==================================
label        ``koi.health.path``             ``koi.8080.type``
config key   ``user.koi.health.path``        ``user.koi.8080.type``
annotation   ``koi.sylin.org/health-path``   ``koi.sylin.org/port-8080-type``
unit file    ``X-Koi-HealthPath=``           ``X-Koi-Port-8080-Type=``
============ =============================== ==================================

The protocol of a port defaults to TCP. A UDP port is ``53/udp`` in labels and in config keys. It
is ``53-udp`` in annotations, whose names may contain one slash only. Unit files accept both.
"""

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Protocol
from koi_agent.core.metadata import names, switches, values
from koi_agent.core.metadata.txt import MDNS, txt_value


@frozen()
class KeyRow:
    """A row of the namespace.

    ``field`` is the field of KoiMetadata or PortMetadata that the key sets. ``capability`` is the
    name of the capability that the key belongs to, empty for a key that several capabilities use.
    ``read_unit`` reads a value in a unit file, if its syntax differs there.
    """

    name: str
    capability: str
    field: str
    about: str
    read: values.Reader
    read_unit: values.Reader | None = None


_BOOLEAN = (values.boolean, values.unit_boolean)
_SECONDS = (values.seconds, values.span)
_COMMON, _DNS, _HEALTH, _PROXY = "", "dns", "health", "proxy"

KEYS = (
    KeyRow("enable", _COMMON, "enable", "Opt in or out", *_BOOLEAN),
    KeyRow("mdns.enable", MDNS, "mdns_enable", "Opt out of mDNS alone", *_BOOLEAN),
    KeyRow("dns.enable", _DNS, "dns_enable", "Opt out of DNS alone", *_BOOLEAN),
    KeyRow("health.enable", _HEALTH, "health_enable", "Opt out of checks alone", *_BOOLEAN),
    KeyRow("proxy.enable", _PROXY, "proxy_enable", "Opt out of the proxy alone", *_BOOLEAN),
    KeyRow("announce", _COMMON, "announce", "Opt in under this name", names.filled_text),
    KeyRow("type", MDNS, "service_type", "DNS-SD service type, as _http._tcp", names.service_type),
    KeyRow("subtypes", MDNS, "subtypes", "Subtypes of that type, as _printer", names.subtypes),
    KeyRow("name", _COMMON, "name", "DNS-SD service name", names.instance_name),
    KeyRow("dns.name", _COMMON, "dns_name", "Host name", names.dns_name),
    KeyRow("txt.<k>", MDNS, "txt", "A string of the TXT record", names.safe_text),
    KeyRow("port", _COMMON, "port", "The port to announce and to check", values.port),
    KeyRow("health.path", _HEALTH, "health_path", "Path of an HTTP check", values.path),
    KeyRow("health.host", _HEALTH, "health_host", "Host of an HTTP check", names.host_header),
    KeyRow("health.kind", _HEALTH, "health_kind", "Kind of check: http or tcp", values.health_kind),
    KeyRow("health.scheme", _HEALTH, "health_scheme", "http or https", values.scheme),
    KeyRow("health.interval", _HEALTH, "health_interval", "Time between checks", *_SECONDS),
    KeyRow(
        "health.timeout", _HEALTH, "health_timeout", "Time after which a check fails", *_SECONDS
    ),
    KeyRow("proxy.port", _PROXY, "proxy_port", "TLS port of the reverse proxy", values.port),
    KeyRow("proxy.scheme", _PROXY, "proxy_scheme", "Scheme behind the proxy", values.scheme),
    KeyRow(
        "proxy.remote",
        _PROXY,
        "proxy_remote",
        "Allow the proxy to use upstreams on other hosts",
        *_BOOLEAN,
    ),
    KeyRow("certmesh", "certmesh", "certmesh", "Request a mesh certificate", *_BOOLEAN),
    KeyRow("<port>.type", MDNS, "type", "Service type of one port", names.service_type),
    KeyRow("<port>.subtypes", MDNS, "subtypes", "Subtypes of one port's type", names.subtypes),
    KeyRow("<port>.name", MDNS, "name", "Service name of one port", names.instance_name),
    KeyRow("<port>.txt.<k>", MDNS, "txt", "A string of one port's TXT record", names.safe_text),
)


@frozen()
class KeyTarget:
    """The target of one assignment: a row of ``KEYS``, with its port and TXT key if it has them."""

    row: KeyRow
    port: tuple[int, Protocol] | None = None
    txt: str = ""

    def read(self, value: str, *, unit: bool) -> object:
        """Parse a value for this target; ``unit`` selects systemd's syntax. Raises ``BadInput``."""
        if self.txt:
            return txt_value(self.txt, value)
        read = self.row.read_unit if unit and self.row.read_unit else self.row.read
        accepted = read(value)
        if self.port and self.row.read is names.service_type:
            _check_protocol(str(accepted), self.port[1])
        return accepted


def _check_protocol(service_type: str, protocol: Protocol) -> None:
    if names.protocol_of(service_type) is not protocol:
        wrong = f"{names.shown(service_type)} is not a service type for a {protocol} port"
        raise BadInput(f"{wrong}; use one that ends in ._{protocol}")


@frozen()
class Spelling:
    """How one kind of metadata spells the keys; ``unit`` is True for systemd's value syntax.

    ``write`` returns the spelling of a row's name without ``prefix``. ``separator`` is a regular
    expression for the text between a port and its protocol.
    """

    prefix: str
    write: Callable[[str], str]
    separator: str
    unit: bool = False

    def parse(self, key: str) -> KeyTarget:
        """Parse a key with its prefix, in any case. Raises ``BadInput`` for an unknown key."""
        name = key[len(self.prefix) :]
        if key.startswith(self.prefix):
            for row, pattern in _patterns(self):
                if match := pattern.fullmatch(name):
                    return _target(row, match.groupdict())
        raise BadInput("unknown key" + self._suggestion(name))

    def _suggestion(self, name: str) -> str:
        known = [self.write(row.name) for row in KEYS]
        folded = {key.lower(): key for key in known}
        near = get_close_matches(name.lower(), folded, 1) if len(name) <= 30 else []
        return f"; did you mean {self.prefix}{folded[near[0]]}?" if near else ""

    def pattern(self, name: str) -> re.Pattern[str]:
        """Return the pattern of the keys that a row of this name stands for."""
        port = f"(?P<port>[0-9]+)(?:{self.separator}(?P<protocol>tcp|udp))?"
        escaped = re.escape(self.write(name))
        return re.compile(escaped.replace("<port>", port).replace("<k>", "(?P<txt>.+)"), re.DOTALL)


@cache
def _patterns(spelling: Spelling) -> Sequence[tuple[KeyRow, re.Pattern[str]]]:
    """Return the rows with their patterns, which are compiled when a spelling is first used."""
    return [(row, spelling.pattern(row.name)) for row in KEYS]


SWITCHES = {
    row.capability: KeyTarget(row)
    for row in KEYS
    if row.name in (switches.ENABLE, f"{row.capability}.{switches.ENABLE}")
}
"""The keys that opt in or out, by the capability: "" for all."""


def _target(row: KeyRow, groups: dict[str, str]) -> KeyTarget:
    txt = groups.get("txt", "")
    if "port" not in groups:
        return KeyTarget(row, txt=txt)
    protocol = Protocol(groups["protocol"] or "tcp")
    return KeyTarget(row, (values.port(groups["port"]), protocol), txt)


def _as_label(name: str) -> str:
    return name


def _as_annotation(name: str) -> str:
    return name.replace("<port>", "port-<port>").replace(".", "-")


def _as_unit_key(name: str) -> str:
    """Return the name in PascalCase without dots, with dashes around a TXT key and a port."""
    parts = (part if part.startswith("<") else part.capitalize() for part in name.split("."))
    return "".join(parts).replace("<port>", "Port-<port>-").replace("<k>", "-<k>")


LABEL = Spelling("koi.", _as_label, "/")
CONFIG_KEY = Spelling("user.koi.", _as_label, "/")
ANNOTATION = Spelling("koi.sylin.org/", _as_annotation, "-")
UNIT = Spelling("X-Koi-", _as_unit_key, "[-/]", unit=True)
