"""The dynamic configuration of Traefik, as its HTTP provider and its file provider read it."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from koi_agent.capabilities.proxy.records import HTTPS
from koi_agent.capabilities.proxy.sites import Site

ENTRY_POINT: Final = "websecure"
"""The usual name of Traefik's entry point on port 443. Those of other ports end in the port."""
NO_ROUTES: Final = "{}"
"""The text of a configuration without sites."""
_SLICE: Final = 100
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
    for part in _slices(sites):
        await asyncio.sleep(0)
        routers |= {_name(site): _router(site) for site in part}
        services |= {_name(site): _service(site) for site in part}
    await asyncio.sleep(0)
    return _document(sites, routers, services)


async def text_in_slices(sites: Sequence[Site]) -> str:
    """Return the same as JSON, with a line for each router and each service."""
    routers: list[str] = []
    services: list[str] = []
    for part in _slices(sites):
        await asyncio.sleep(0)
        routers += [_line(site, _router(site)) for site in part]
        services += [_line(site, _service(site)) for site in part]
    await asyncio.sleep(0)
    if not sites:
        return NO_ROUTES
    members = {
        name: json.dumps(value) for name, value in _document(sites, {}, {})["http"].items()
    } | {"routers": _lines(routers), "services": _lines(services)}
    inner = ", ".join(f'"{name}": {text}' for name, text in members.items())
    return f'{{"http": {{{inner}}}}}'


def _slices(sites: Sequence[Site]) -> Iterator[Sequence[Site]]:
    for begin in range(0, len(sites), _SLICE):
        yield sites[begin : begin + _SLICE]


def _line(site: Site, value: Mapping[str, Any]) -> str:
    return f"  {json.dumps(_name(site))}: {json.dumps(value)}"


def _lines(lines: Sequence[str]) -> str:
    return "{\n" + ",\n".join(lines) + "\n }"


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
