"""Labels of the reverse proxies Traefik and Caddy, which name a service's host and port.

A host and a port are all that is read from them, and keys of the koi namespace take precedence.
A refusal shows the key of a label and not its value, which may be confidential.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TypeVar

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import EnabledBy, KoiMetadata, Refusal
from koi_agent.core.metadata import names, switches, traefik_rules, values

_T = TypeVar("_T")
_Labels = Mapping[str, str]

_MOST_KEYS = 100

_TRAEFIK = "traefik."
_TRAEFIK_SWITCH = "traefik.enable"
# Traefik ignores the case of a label's key.
_TRAEFIK_RULE = re.compile(r"traefik\.http\.routers\..*\.rule", re.IGNORECASE)
_TRAEFIK_PORT = re.compile(
    r"traefik\.http\.services\..*\.loadbalancer\.server\.port", re.IGNORECASE
)
_CADDY_SITE = re.compile(r"caddy(?:_([0-9]{1,9}))?")
_CADDY_PROXY = re.compile(
    r"caddy(?:_([0-9]{1,9}))?\.(?:.*\.)?(?:[0-9]+_)?reverse_proxy(?:_[0-9]+)?"
)
_CADDY_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


@frozen(kw_only=True)
class _Found:
    """Host and port that the labels of one proxy name; ``source`` is for KoiMetadata."""

    source: str
    host: str | None
    port: int | None
    refused: tuple[Refusal, ...]


def is_proxy_label(label: str) -> bool:
    """Return True for a label that this module reads."""
    return label.lower() == _TRAEFIK_SWITCH or any(
        pattern.fullmatch(label)
        for pattern in (_TRAEFIK_RULE, _TRAEFIK_PORT, _CADDY_SITE, _CADDY_PROXY)
    )


def from_proxy_labels(labels: _Labels, metadata: KoiMetadata) -> KoiMetadata:
    """Return what the labels add to ``metadata``, whose fields take precedence.

    The labels of Caddy are read only if those of Traefik name neither a host nor a port.
    """
    refused: tuple[Refusal, ...] = ()
    for read in (_traefik, _caddy):
        found = read(labels)
        refused += found.refused
        if found.host or found.port:
            return _added(found, metadata, refused)
    return KoiMetadata(refused=refused)


def _added(found: _Found, metadata: KoiMetadata, refused: tuple[Refusal, ...]) -> KoiMetadata:
    """Return the fields that a host and a port set.

    The host is the DNS name and its first label the service name: in a list of services, all names
    would end in the same domain. The port is that of the instance, not that of the proxy.
    """
    name = found.host.split(".")[0] if found.host and metadata.name is None else None
    dns_name = found.host if metadata.dns_name is None else None
    port = found.port if metadata.port is None else None
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
    keys = sorted(key for key in labels if key[: len(_TRAEFIK)].lower() == _TRAEFIK)
    enabled, refused = _traefik_switch(labels, keys)
    keys = keys if enabled else []
    rules = filter(_TRAEFIK_RULE.fullmatch, keys)
    ports = filter(_TRAEFIK_PORT.fullmatch, keys)
    host, refused_hosts = _first(labels, rules, _rule_host, names.dns_name)
    port, refused_ports = _first(labels, ports, str.strip, values.port)
    return _Found(
        source="traefik-labels",
        host=host,
        port=port,
        refused=refused + refused_hosts + refused_ports,
    )


def _traefik_switch(labels: _Labels, keys: Iterable[str]) -> tuple[bool, tuple[Refusal, ...]]:
    """Return False if a switch disables the labels or can't be read, and the refusals."""
    enabled, refused = True, []
    for key in keys:
        if key.lower() == _TRAEFIK_SWITCH:
            says_yes, reason = switches.go_switch(labels[key])
            enabled = enabled and says_yes
            refused += [Refusal(key=names.shown_key(key), reason=reason)] if reason else []
    return enabled, tuple(refused)


def _rule_host(rule: str) -> str | None:
    """Return the first host of a rule."""
    return next(traefik_rules.hosts(rule), None)


def _caddy(labels: _Labels) -> _Found:
    sites = _indexed(labels, _CADDY_SITE)
    proxies = _indexed(labels, _CADDY_PROXY) if sites else []
    host, refused_hosts = _first(labels, sites, _site_host, names.dns_name)
    port, refused_ports = _first(labels, proxies, _upstream_port, values.port)
    return _Found(
        source="caddy-labels", host=host, port=port, refused=refused_hosts + refused_ports
    )


def _indexed(labels: _Labels, pattern: re.Pattern[str]) -> list[str]:
    """Return the matching keys by the index of their site, ``caddy`` before ``caddy_0``."""
    matches = [match for key in labels if (match := pattern.fullmatch(key))]
    matches.sort(key=lambda match: (int(match[1] or -1), match[0]))
    return [match[0] for match in matches]


def _site_host(addresses: str) -> str | None:
    """Return the first host in ``https://a.example:8443/path b.example, *.c.example``.

    Snippets in parentheses, placeholders, wildcards and bare ports are skipped.
    """
    for address in _CADDY_PLACEHOLDER.sub("{}", addresses).replace(",", " ").split():
        host = address.split("://")[-1].split("/")[0].split(":")[0]
        if host and not set(host) & set("(){}*["):
            return host
    return None


def _upstream_port(arguments: str) -> str | None:
    """Return the port in ``{{upstreams 8080}}`` or ``* {{upstreams http 8080}}``."""
    words = arguments.replace("{{", " ").replace("}}", " ").split()
    return next((word for word in words if word.isascii() and word.isdecimal()), None)


def _first(
    labels: _Labels,
    keys: Iterable[str],
    extract: Callable[[str], str | None],
    read: Callable[[str], _T],
) -> tuple[_T | None, tuple[Refusal, ...]]:
    """Return the value of the first label with a valid one, and refusals for earlier labels."""
    refused: list[Refusal] = []
    for key in islice(keys, _MOST_KEYS):
        try:
            if (text := extract(names.bounded(labels[key]))) is not None:
                return read(text), tuple(refused)
        except BadInput:
            reason = "the host or port in this label is not valid"
            refused.append(Refusal(key=names.shown_key(key), reason=reason))
    return None, tuple(refused)
