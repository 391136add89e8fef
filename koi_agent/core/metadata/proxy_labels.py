"""Labels of Traefik and of Caddy, which say already where a service is reached.

Only a host and a port are taken from them, and only what the owner did not say in the koi
namespace. Labels of others are not for showing: a refusal names the key, never the value.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import EnabledBy, KoiMetadata, Refusal
from koi_agent.core.metadata import names, values

_T = TypeVar("_T")
_Labels = Mapping[str, str]

_MOST_KEYS = 100

_TRAEFIK_SWITCH = "traefik.enable"
_TRAEFIK_RULE = re.compile(r"traefik\.http\.routers\..*\.rule", re.IGNORECASE)
_TRAEFIK_PORT = re.compile(
    r"traefik\.http\.services\..*\.loadbalancer\.server\.port", re.IGNORECASE
)
# Quoted texts that belong to no Host are taken whole, so that no Host is found inside of them.
_TRAEFIK_HOST = re.compile(
    r"(?P<negated>!\s*)?\bHost\s*\(\s*(?:`(?P<tick>[^`]*)`|\"(?P<quote>[^\"]*)\")"
    r"|`[^`]*`|\"[^\"]*\"",
    re.IGNORECASE,
)
_CADDY_SITE = re.compile(r"caddy(?:_([0-9]{1,9}))?")
_CADDY_PROXY = re.compile(
    r"caddy(?:_([0-9]{1,9}))?\.(?:.*\.)?(?:[0-9]+_)?reverse_proxy(?:_[0-9]+)?"
)
_CADDY_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    source: str
    host: str | None
    port: int | None
    refused: tuple[Refusal, ...]


def is_partners(label: str) -> bool:
    """Tell whether a label is one of those that are read here."""
    return label == _TRAEFIK_SWITCH or any(
        pattern.fullmatch(label)
        for pattern in (_TRAEFIK_RULE, _TRAEFIK_PORT, _CADDY_SITE, _CADDY_PROXY)
    )


def partner(labels: _Labels, given: KoiMetadata) -> KoiMetadata:
    """Say what partner labels add to what was given: what is set already, they leave alone.

    Traefik is asked first, Caddy only if Traefik has nothing; their answers are not mixed.
    """
    refused: tuple[Refusal, ...] = ()
    for ask in (_traefik, _caddy):
        found = ask(labels)
        refused += found.refused
        if found.host or found.port:
            return _added(found, given, refused)
    return KoiMetadata(refused=refused)


def _added(found: _Found, given: KoiMetadata, refused: tuple[Refusal, ...]) -> KoiMetadata:
    """Turn a host and a port into fields.

    The host is the DNS name. The service name people read in a list is its first label alone:
    the domain repeats in all of them and says nothing there. The port is the one that serves,
    behind the partner's own.
    """
    name = found.host.split(".")[0] if found.host and given.name is None else None
    dns_name = found.host if given.dns_name is None else None
    port = found.port if given.port is None else None
    return KoiMetadata(
        enable=True,
        enabled_by=EnabledBy.PARTNER,
        name=name,
        dns_name=dns_name,
        port=port,
        source=found.source if name or dns_name or port else None,
        refused=refused,
    )


def _traefik(labels: _Labels) -> _Found:
    switch = labels.get(_TRAEFIK_SWITCH, "").strip().lower()
    keys = [] if switch == "false" else sorted(key for key in labels if key[:8] == "traefik.")
    rules = filter(_TRAEFIK_RULE.fullmatch, keys)
    ports = filter(_TRAEFIK_PORT.fullmatch, keys)
    host, refused_hosts = _first(labels, rules, _rule_host, names.dns_name)
    port, refused_ports = _first(labels, ports, str.strip, values.port)
    return _Found(
        source="traefik-labels", host=host, port=port, refused=refused_hosts + refused_ports
    )


def _rule_host(rule: str) -> str | None:
    """Find the first Host of a rule: `Host(`a`)` of v3, or the first of v2's `Host(`a`, `b`)`."""
    for match in _TRAEFIK_HOST.finditer(rule):
        host = (match["tick"] or match["quote"] or "").strip()
        if host and not match["negated"]:
            return host
    return None


def _caddy(labels: _Labels) -> _Found:
    sites = _indexed(labels, _CADDY_SITE)
    proxies = _indexed(labels, _CADDY_PROXY) if sites else []
    host, refused_hosts = _first(labels, sites, _site_host, names.dns_name)
    port, refused_ports = _first(labels, proxies, _upstream_port, values.port)
    return _Found(
        source="caddy-labels", host=host, port=port, refused=refused_hosts + refused_ports
    )


def _indexed(labels: _Labels, pattern: re.Pattern[str]) -> list[str]:
    """Sort keys by the index of their site, ``caddy`` before ``caddy_0``."""
    matches = [match for key in labels if (match := pattern.fullmatch(key))]
    matches.sort(key=lambda match: (int(match[1] or -1), match[0]))
    return [match[0] for match in matches]


def _site_host(addresses: str) -> str | None:
    """Find the first host among ``https://a.example:8443/path b.example, *.c.example``.

    Snippets in parentheses, placeholders, wildcards and bare ports are no hosts.
    """
    for address in _CADDY_PLACEHOLDER.sub("{}", addresses).replace(",", " ").split():
        host = address.split("://")[-1].split("/")[0].split(":")[0]
        if host and not set(host) & set("(){}*["):
            return host
    return None


def _upstream_port(arguments: str) -> str | None:
    """Find the port in ``{{upstreams 8080}}`` or ``* {{upstreams http 8080}}``."""
    words = arguments.replace("{{", " ").replace("}}", " ").split()
    return next((word for word in words if word.isascii() and word.isdecimal()), None)


def _first(
    labels: _Labels,
    keys: Iterable[str],
    extract: Callable[[str], str | None],
    read: Callable[[str], _T],
) -> tuple[_T | None, tuple[Refusal, ...]]:
    """Read the first label that has something usable."""
    refused: list[Refusal] = []
    for key in islice(keys, _MOST_KEYS):
        try:
            if (text := extract(names.bounded(labels[key]))) is not None:
                return read(text), tuple(refused)
        except BadInput:
            reason = "the host or port in this label can't be used"
            refused.append(Refusal(key=names.shown_key(key), reason=reason))
    return None, tuple(refused)
