"""The routes of all instances as values for JSON, for the command and for HTTP."""

from collections.abc import Iterable, Sequence
from typing import Any

from koi_agent.capabilities.proxy import traefik
from koi_agent.capabilities.proxy.records import Route
from koi_agent.capabilities.proxy.sites import Site, sites
from koi_agent.core.plan.records import Record


def printed(records: Iterable[Record]) -> Sequence[dict[str, Any]]:
    """Return the sites of planned routes in a stable order."""
    return [
        {
            "url": site.url,
            "host": site.host,
            "port": site.port,
            "upstreams": [{"key": str(key), "url": one.url} for key, one in site.upstreams],
        }
        for site in _sites(records)
    ]


async def traefik_document(records: Sequence[Record]) -> dict[str, Any]:
    """Return the dynamic configuration of Traefik for planned routes, built in slices."""
    return await traefik.document_in_slices(_sites(records))


def _sites(records: Iterable[Record]) -> Sequence[Site]:
    return sites(record for record in records if isinstance(record, Route))
