"""The section of the proxy, and the readers of its settings."""

import re
from ipaddress import ip_address
from typing import Final, NamedTuple

from koi_agent.config import readers
from koi_agent.config.dns import path
from koi_agent.config.keys import Assignments, key
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.names import filled_text, shown
from koi_agent.core.metadata.values import choice, port
from koi_agent.core.unit_file.syntax import words

MOST_PORTS: Final = 16
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:]+)\]|([0-9.]+)):([0-9]+)")
_YAML: Final = (".yml", ".yaml")
INTERNAL: Final = "internal"
"""The issuer that is Caddy's own authority."""
CONFIGURED: Final = "acme"
"""The issuer that Caddy's own configuration names, or Caddy's default."""
_DIRECTORY: Final = re.compile(
    r"https://(?:\[[0-9A-Fa-f:]{2,39}\]|[A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?(?:/[\w./~?=&%-]{0,512})?",
    re.ASCII,
)
"""Without braces: Caddy replaces placeholders in these."""


class AdminAddress(NamedTuple):
    """The address of Caddy's admin API: the path of a Unix socket, or a loopback address."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Return the path, or address and port as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"


def ports(value: str) -> tuple[int, ...]:
    """Parse a list of port numbers."""
    found = tuple(dict.fromkeys(map(port, words(value))))
    if len(found) > MOST_PORTS:
        raise BadInput(f"{len(found)} ports are too many; write at most {MOST_PORTS}")
    return found


def admin_address(value: str) -> AdminAddress | None:
    """Parse the path of a socket, or a loopback address with a port, or the empty text."""
    if not value:
        return None
    text = filled_text(value)
    if text.startswith("/"):
        return AdminAddress(path=readers.socket_path(text))
    match = _ADDRESS.fullmatch(text)
    try:
        address = ip_address((match and (match[1] or match[2])) or "")
    except ValueError as error:
        advice = "write /run/caddy/admin.sock or 127.0.0.1:2019"
        raise BadInput(f"{shown(text)} is not a socket or an address; {advice}") from error
    if not address.is_loopback:
        raise BadInput(f"{shown(text)} is not a loopback address; write 127.0.0.1:2019")
    return AdminAddress(host=str(address), port=port(match[3] if match else ""))


def yaml_file(value: str) -> str:
    """Parse the absolute path of a YAML file, or the empty text."""
    found = path(value)
    if found and not found.endswith(_YAML):
        raise BadInput(f"{shown(found)} does not end in .yml or .yaml; Traefik reads no other file")
    return found


def issuer(value: str) -> str:
    """Parse ``internal``, ``acme``, or the URL of an ACME directory (RFC 8555 section 7.1.1)."""
    if "://" not in value:
        return choice(value, (INTERNAL, CONFIGURED))
    text = filled_text(value)
    advice = "write https://ca.example/acme/directory"
    if "@" in text:  # what may be a password is not shown
        raise BadInput(f"the URL has a user or a password; {advice}")
    if not _DIRECTORY.fullmatch(text):
        raise BadInput(f"{shown(text)} is not the URL of an ACME directory; {advice}")
    return text


@frozen(kw_only=True)
class ProxyConfig:
    """Settings of the proxy. ``traefik_file`` is a path, or "" for none."""

    ports: tuple[int, ...] = key(
        "Ports",
        "443",
        ports,
        "Ports on which instances may have routes. Assignments are combined; the first one replaces"
        " the default.",
        assignments=Assignments.LIST,
    )
    caddy: AdminAddress | None = key(
        "Caddy",
        "",
        admin_address,
        "Admin API of Caddy, which gets the routes: the path of its socket, or a loopback address"
        " with its port, such as 127.0.0.1:2019.",
    )
    traefik_file: str = key(
        "TraefikFile",
        "",
        yaml_file,
        "File with the routes for Traefik's file provider. Its name ends in .yml or .yaml.",
    )
    issuer: str = key(
        "Issuer",
        INTERNAL,
        issuer,
        "Issuer of Caddy's certificates: internal for Caddy's own authority, the URL of an ACME"
        " directory, or acme for what Caddy's configuration says, public authorities by default.",
    )
