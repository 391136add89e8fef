"""The dynamic configuration of Traefik, as its HTTP provider and its file provider read it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from koi_agent.capabilities.proxy.records import HTTPS
from koi_agent.capabilities.proxy.sites import Site

ENTRY_POINT: Final = "websecure"
"""The usual name of Traefik's entry point on port 443. Those of other ports end in the port."""
_SLICE: Final = 500
"""Sites whose objects are built at a time."""
_TRANSPORT: Final = "koi-runtime"
"""The transport to upstreams with TLS. They have no certificate for a numeric address."""


def document(sites: Sequence[Site]) -> dict[str, Any]:
    """Return the configuration for sites. Traefik refuses empty objects, so none is in it."""
    routers = {_name(site): _router(site) for site in sites}
    return _document(sites, routers, {_name(site): _service(site) for site in sites})


async def document_in_slices(sites: Sequence[Site]) -> dict[str, Any]:
    """Return the same; other work of the agent continues between slices."""
    routers: dict[str, Any] = {}
    services: dict[str, Any] = {}
    for begin in range(0, len(sites), _SLICE):
        await asyncio.sleep(0)
        part = sites[begin : begin + _SLICE]
        routers |= {_name(site): _router(site) for site in part}
        services |= {_name(site): _service(site) for site in part}
    await asyncio.sleep(0)
    return _document(sites, routers, services)


def _document(
    sites: Sequence[Site], routers: Mapping[str, Any], services: Mapping[str, Any]
) -> dict[str, Any]:
    if not sites:
        return {}
    http: dict[str, Any] = {"routers": routers, "services": services}
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
