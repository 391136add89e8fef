"""The keys of the koi namespace and the spellings that runtimes have for them.

``KEYS`` is the only list: parser, manual and tests follow it, and a new key is one row. A name
there may hold ``<k>``, the key of a TXT string, or ``<port>``, one port the row speaks of.

============ =============================== ==================================
spelling     ``health.path``                 ``<port>.type``
============ =============================== ==================================
label        ``koi.health.path``             ``koi.8080.type``
Incus config ``user.koi.health.path``        ``user.koi.8080.type``
annotation   ``koi.sylin.org/health-path``   ``koi.sylin.org/port-8080-type``
unit file    ``X-Koi-HealthPath=``           ``X-Koi-Port-8080-Type=``
============ =============================== ==================================

A port is TCP's unless it says more: ``53/udp`` in labels and Incus config, ``53-udp`` in
annotations, whose names have no room for a second slash, and either in unit files.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Protocol
from koi_agent.core.metadata import names, values
from koi_agent.core.metadata.txt import txt_value


@dataclass(frozen=True, slots=True)
class Key:
    """A row of the namespace; ``field`` is what it fills in KoiMetadata or PortMetadata.

    ``read_unit`` reads the value in a unit file, where that differs.
    """

    name: str
    field: str
    about: str
    read: values.Reader
    read_unit: values.Reader | None = None


_BOOLEAN = (values.boolean, values.unit_boolean)
_SECONDS = (values.seconds, values.span)

KEYS = (
    Key("enable", "enable", "Announce it, or never do", *_BOOLEAN),
    Key("announce", "announce", "Announce it under this name", names.filled_text),
    Key("type", "service_type", "DNS-SD service type, as _http._tcp", names.service_type),
    Key("subtypes", "subtypes", "Subtypes of that type, as _printer", names.subtypes),
    Key("name", "name", "DNS-SD service name", names.instance_name),
    Key("dns.name", "dns_name", "DNS name", names.dns_name),
    Key("txt.<k>", "txt", "One string of the TXT record", names.safe_text),
    Key("port", "port", "The port that serves", values.port),
    Key("health.path", "health_path", "Path an HTTP check asks for", values.path),
    Key("health.kind", "health_kind", "How health is checked: http or tcp", values.health_kind),
    Key("health.scheme", "health_scheme", "An HTTP check's http or https", values.health_scheme),
    Key("health.interval", "health_interval", "Time from check to check", *_SECONDS),
    Key("health.timeout", "health_timeout", "Time a check may take", *_SECONDS),
    Key("proxy.port", "proxy_port", "TLS port the proxy listens on", values.port),
    Key("proxy.remote", "proxy_remote", "Let the proxy serve other hosts", *_BOOLEAN),
    Key("certmesh", "certmesh", "Ask the certificate mesh for a certificate", *_BOOLEAN),
    Key("<port>.type", "type", "Service type of one port", names.service_type),
    Key("<port>.subtypes", "subtypes", "Subtypes of one port's type", names.subtypes),
    Key("<port>.name", "name", "Service name of one port", names.instance_name),
    Key("<port>.txt.<k>", "txt", "One string of one port's TXT record", names.safe_text),
)


@dataclass(frozen=True, slots=True)
class KeyTarget:
    """What one assignment is about: a key, and the port and TXT key it speaks of, if any."""

    key: Key
    port: tuple[int, Protocol] | None = None
    txt: str = ""

    def read(self, value: str, *, unit: bool) -> object:
        """Read a value for this place; raises ``BadInput``."""
        if self.txt:
            return txt_value(self.txt, value)
        read = self.key.read_unit if unit and self.key.read_unit else self.key.read
        accepted = read(value)
        if self.port and self.key.read is names.service_type:
            _check_protocol(str(accepted), self.port[1])
        return accepted


def _check_protocol(service_type: str, protocol: Protocol) -> None:
    if names.protocol_of(service_type) is not protocol:
        raise BadInput(f"{names.shown(service_type)} is no service type for a {protocol} port")


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one sort of metadata writes the keys; ``unit`` has systemd's words and manners."""

    prefix: str
    form: Callable[[str], str]
    separator: str
    unit: bool = False

    def place(self, name: str) -> KeyTarget:
        """Find what a key without its prefix stands for; raises ``BadInput``."""
        for key, pattern in _PATTERNS[self]:
            if match := pattern.fullmatch(name):
                return _place(key, match.groupdict())
        raise BadInput("unknown key" + self._near(name))

    def _near(self, name: str) -> str:
        forms = [self.form(key.name) for key in KEYS]
        folded = {form.lower(): form for form in forms}
        near = get_close_matches(name.lower(), folded, 1) if len(name) <= 30 else []
        return f"; did you mean {self.prefix}{folded[near[0]]}?" if near else ""

    def pattern(self, name: str) -> re.Pattern[str]:
        port = f"(?P<port>[0-9]+)(?:{self.separator}(?P<protocol>tcp|udp))?"
        spelled = re.escape(self.form(name))
        return re.compile(spelled.replace("<port>", port).replace("<k>", "(?P<txt>.+)"), re.DOTALL)


def _place(key: Key, said: dict[str, str]) -> KeyTarget:
    if "port" not in said:
        return KeyTarget(key, txt=said.get("txt", ""))
    protocol = Protocol(said["protocol"] or "tcp")
    return KeyTarget(key, (values.port(said["port"]), protocol), said.get("txt", ""))


def _as_label(name: str) -> str:
    return name


def _as_annotation(name: str) -> str:
    return name.replace("<port>", "port-<port>").replace(".", "-")


def _as_unit_key(name: str) -> str:
    """Write PascalCase without dots; a TXT key and a port are set off with dashes."""
    parts = (part if part.startswith("<") else part.capitalize() for part in name.split("."))
    return "".join(parts).replace("<port>", "Port-<port>-").replace("<k>", "-<k>")


LABEL = Spelling("koi.", _as_label, "/")
INCUS = Spelling("user.koi.", _as_label, "/")
ANNOTATION = Spelling("koi.sylin.org/", _as_annotation, "-")
UNIT = Spelling("X-Koi-", _as_unit_key, "[-/]", unit=True)

_PATTERNS = {
    spelling: tuple((key, spelling.pattern(key.name)) for key in KEYS)
    for spelling in (LABEL, INCUS, ANNOTATION, UNIT)
}
