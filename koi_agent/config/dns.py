"""The section of DNS, and the readers of its settings."""

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

from koi_agent.config import readers
from koi_agent.config.keys import Assignments, key
from koi_agent.config.readers import Listen
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.names import filled_text, host_header, shown
from koi_agent.core.metadata.values import port, unit_boolean
from koi_agent.core.reach.addresses import Network
from koi_agent.core.unit_file.syntax import words

HOUR: Final = 3600
MOST_DOMAINS: Final = 16
MOST_SERVERS: Final = 16
MOST_PEERS: Final = 64
_LONGEST_DOMAIN: Final = 150
_DNS_PORT: Final = 53
BITS_OF_LABEL: Final = {4: 8, 6: 4}
"""Bits of an address in one label of its reverse name, by the version of IP."""
_RESERVED: Final = ("local", "localhost", "invalid", "arpa", "onion")
"""Top-level domains in which no administrator has a zone (RFC 6761, RFC 6762, RFC 7686)."""
_ALLOWED: Final = ".home.arpa"
_SERVER: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]+))?|([0-9A-Fa-f:.]+)")
_KEY: Final = "key:"
_URL: Final = re.compile(r"https?://(?P<place>[^\s/?#]+)(?:/[^\s?#]*)?")
_PLACE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z.-]+))(?::([0-9]+))?")
WEBHOOK_MEDIA_TYPE: Final = "application/external.dns.webhook+json;version=1"


class Server(NamedTuple):
    """The IP address and the port of a DNS server."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return address and port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen(kw_only=True)
class Transfers:
    """Which clients may transfer a zone: those in ``networks``, and those with one of ``keys``."""

    networks: tuple[Network, ...] = ()
    keys: tuple[str, ...] = ()


def domain(value: str) -> str:
    """Parse the name of a zone; return it in lower case, without a final dot."""
    name = host_header(value)
    if name.rpartition(".")[2] in _RESERVED and not f".{name}".endswith(_ALLOWED):
        raise BadInput(f"{shown(name)} is a reserved domain; use internal or a domain of yours")
    if len(name) > _LONGEST_DOMAIN:
        raise BadInput(f"{shown(name)} is longer than {_LONGEST_DOMAIN} characters")
    return name


def zone(value: str) -> str:
    """Parse the name of a zone, or the empty text."""
    return domain(value) if value else ""


def key_name(value: str) -> str:
    """Parse the name of a TSIG key, or the empty text."""
    return host_header(value) if value else ""


def _domains(value: str) -> tuple[str, ...]:
    return _several(value, domain, MOST_DOMAINS)


def _several(value: str, read: Callable[[str], str], most: int) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(read(filled_text(word)) for word in words(value)))
    if len(found) > most:
        raise BadInput(f"{len(found)} values are too many; write at most {most}")
    return found


def listen(value: str) -> tuple[Listen, ...]:
    """Parse a list of ports, and of addresses with ports."""
    found = readers.listeners(value)
    for one in found:
        if one.path:
            raise BadInput(f"{shown(one.path)} is a path; write 5354 or 192.0.2.1:5354")
    return found


def servers(value: str) -> tuple[Server, ...]:
    """Parse a list of IP addresses, each with or without a port."""
    texts = _several(value, str, MOST_SERVERS)
    return tuple(dict.fromkeys(map(_server, texts)))


def server(value: str) -> Server | None:
    """Parse an IP address, with or without a port, or the empty text."""
    return _server(filled_text(value)) if value else None


def _server(text: str) -> Server:
    match = _SERVER.fullmatch(text)
    host = match and (match[1] or match[2] or match[4])
    try:
        address = ip_address(host or "")
    except ValueError as error:
        raise BadInput(
            f"{shown(text)} is not an IP address; write 192.0.2.1, 192.0.2.1:5354 or"
            " [2001:db8::1]:5354"
        ) from error
    return Server(str(address), port(match[3]) if match and match[3] else _DNS_PORT)


def transfers(value: str) -> Transfers:
    """Parse a list of IP addresses, networks and ``key:NAME``."""
    texts = _several(value, str, MOST_PEERS)
    keys = [text[len(_KEY) :] for text in texts if text.startswith(_KEY)]
    networks = [_network(text) for text in texts if not text.startswith(_KEY)]
    return Transfers(networks=tuple(networks), keys=tuple(map(host_header, keys)))


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise BadInput(
            f"{shown(text)} is not an address; write 192.0.2.1, 192.0.2.0/24 or key:NAME"
        ) from error


def reverse_networks(value: str) -> tuple[Network, ...]:
    """Parse a list of networks that can have zones for reverse names."""
    return tuple(map(_reverse_network, _several(value, str, MOST_DOMAINS)))


def _reverse_network(text: str) -> Network:
    network = _network(text)
    bits = BITS_OF_LABEL[network.version]
    if not network.prefixlen or network.prefixlen % bits:
        raise BadInput(
            f"{shown(text)} has no zone of its own: the length of a prefix is a multiple of {bits}"
        )
    return network


def path(value: str) -> str:
    """Parse an absolute path, or the empty text."""
    if not value:
        return ""
    found = filled_text(value)
    if not found.startswith("/") or ".." in found.split("/"):
        raise BadInput(f"{shown(found)} is not an absolute path without ..")
    return found.rstrip("/") or "/"


def webhook(value: str) -> str:
    """Parse the URL of a webhook, or the empty text; return it without a final slash."""
    if not value:
        return ""
    text = filled_text(value)
    if "@" in text:  # what may be a password is not shown
        raise BadInput("the URL has a user or a password; write http://127.0.0.1:8888")
    match = _URL.fullmatch(text)
    if not match or not text.isascii():
        raise BadInput(f"{shown(text)} is not a URL; write http://127.0.0.1:8888")
    place = _PLACE.fullmatch(match["place"])
    if not place or (place[1] and not _is_ipv6(place[1])):
        raise BadInput(f"{shown(text)} has no valid host; write http://127.0.0.1:8888")
    if place[3]:
        port(place[3])
    return text.rstrip("/")


def webhook_host(url: str) -> str:
    """Return the host in a URL that ``webhook`` has returned."""
    place = url.split("/")[2]
    found = _PLACE.fullmatch(place)
    return (found[1] or found[2]) if found else place


def _is_ipv6(text: str) -> bool:
    try:
        return ip_address(text).version == 6
    except ValueError:
        return False


def is_webhook_media_type(text: str) -> bool:
    """Return True for the media type of external-dns' webhook protocol in version 1."""
    return text.replace(" ", "").lower() == WEBHOOK_MEDIA_TYPE


@frozen(kw_only=True)
class DNSConfig:
    """Settings of DNS. ``ttl`` is seconds. ``hosts_directory`` is a path, or "" for none."""

    domain: str = key(
        "Domain",
        "internal",
        domain,
        "The domain in which an instance with a name of one label has its DNS name.",
    )
    extra_domains: tuple[str, ...] = key(
        "ExtraDomains",
        "",
        _domains,
        "Further domains in which the names of instances may be.",
        assignments=Assignments.EMPTIABLE_LIST,
    )
    ttl: float = key(
        "TTL",
        "30s",
        readers.span(1, HOUR),
        "How long resolvers may keep an answer, from 1s to 1h.",
    )
    listen: tuple[Listen, ...] = key(
        "Listen",
        "",
        listen,
        "Addresses on which the agent answers DNS requests for its domains. A port number alone"
        " binds to loopback: 5354, 192.0.2.1:5354, [2001:db8::1]:5354 or *:5354.",
        assignments=Assignments.EMPTIABLE_LIST,
    )
    reverse_networks: tuple[Network, ...] = key(
        "ReverseNetworks",
        "",
        reverse_networks,
        "Networks whose addresses the server of Listen= resolves to names:"
        " 10.0.3.0/24, 2001:db8::/64.",
        assignments=Assignments.EMPTIABLE_LIST,
    )
    allow_transfer: Transfers = key(
        "AllowTransfer",
        "",
        transfers,
        "Secondary servers that may transfer the zones: addresses, networks and key:NAME.",
        assignments=Assignments.EMPTIABLE_LIST,
    )
    notify: tuple[Server, ...] = key(
        "Notify",
        "",
        servers,
        "Secondary servers that are notified of changes: addresses, with a port if it is not 53.",
        assignments=Assignments.EMPTIABLE_LIST,
    )
    hosts_directory: str = key(
        "HostsDirectory",
        "",
        path,
        "Directory for files in the format of hosts(5), which dnsmasq reads by --hostsdir=.",
    )
    update: Server | None = key(
        "Update",
        "",
        server,
        "DNS server that gets the names by dynamic updates (RFC 2136): its address, with a port if"
        " it is not 53.",
    )
    update_zone: str = key(
        "UpdateZone",
        "",
        zone,
        "Zone of that server that gets the names; Domain= if this is empty.",
    )
    update_key: str = key(
        "UpdateKey",
        "",
        key_name,
        "Name of the TSIG key that signs the updates. Its secret is the credential dns-key.NAME.",
    )
    update_key_file: str = key(
        "UpdateKeyFile",
        "",
        path,
        "File with the secret of UpdateKey=, instead of the credential.",
    )
    webhook: str = key(
        "Webhook",
        "",
        webhook,
        "URL of a webhook of external-dns, whose provider gets the names: http://127.0.0.1:8888.",
    )
    release_on_stop: bool = key(
        "ReleaseOnStop",
        "no",
        unit_boolean,
        "Whether names are removed from the server of Update= and from the provider of Webhook="
        " when the agent stops.",
    )
