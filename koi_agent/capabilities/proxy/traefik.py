"""The dynamic configuration of Traefik, as its HTTP provider and its file provider read it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from koi_agent.capabilities.proxy.records import HTTPS
from koi_agent.capabilities.proxy.sites import Site

ENTRY_POINT: Final = "websecure"
"""The usual name of Traefik's entry point on port 443. Those of other ports end in the port."""
_TRANSPORT: Final = "koi-runtime"
"""The transport to upstreams with TLS. They have no certificate for a numeric address."""


def document(sites: Sequence[Site]) -> dict[str, Any]:
    """Return the configuration for sites. Traefik refuses empty objects, so none is in it."""
    if not sites:
        return {}
    services = {_name(site): _service(site) for site in sites}
    http: dict[str, Any] = {
        "routers": {_name(site): _router(site) for site in sites},
        "services": services,
    }
    if any(site.scheme == "https" for site in sites):
        http["serversTransports"] = {_TRANSPORT: {"insecureSkipVerify": True}}
    return {"http": http}


def _name(site: Site) -> str:
    """Return the name of a site's router and service."""
    return f"koi-{site.port}-{site.host}"


def _router(site: Site) -> Mapping[str, Any]:
    suffix = "" if site.port == HTTPS else f"-{site.port}"
    return {
        "entryPoints": [ENTRY_POINT + suffix],
        "rule": f"Host(`{site.host}`)",
        "service": _name(site),
        "tls": {},
    }


def _service(site: Site) -> Mapping[str, Any]:
    urls = dict.fromkeys(upstream.url for _, upstream in site.upstreams)
    balancer: dict[str, Any] = {
        "servers": [{"url": url} for url in urls],
        "passHostHeader": True,
    }
    if site.scheme == "https":
        balancer["serversTransport"] = _TRANSPORT
    return {"loadBalancer": balancer}
