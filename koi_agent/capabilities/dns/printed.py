"""The resource records of all names, for the command and for HTTP."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.zone import Rr, Zones
from koi_agent.config.dns import DNSConfig
from koi_agent.core.plan.full_names import Domains
from koi_agent.core.plan.records import Record

_NAMES: Final = 100
"""Names that are added before other work of the agent continues."""
_RECORDS: Final = 1000
"""Records that are returned before other work continues."""
_OF_SERVER: Final = frozenset({"SOA", "NS"})


async def printed(records: Iterable[Record], config: DNSConfig) -> Sequence[Rr]:
    """Return the resource records of planned names in a stable order, zone by zone.

    SOA and NS are left out: they belong to the server that serves the zone.
    """
    domains = Domains(main=config.domain, extra=config.extra_domains)
    zones = Zones(domains, int(config.ttl), config.reverse_networks)
    names = [record for record in records if isinstance(record, Name)]
    for number, name in enumerate(names, 1):
        zones.put(name.owner, [name])  # an instance has one name
        if number % _NAMES == 0:
            await asyncio.sleep(0)
    found = []
    for number, rr in enumerate((rr for zone in zones.all() for rr in zone.records()), 1):
        if rr.type not in _OF_SERVER:
            found.append(rr)
        if number % _RECORDS == 0:
            await asyncio.sleep(0)
    return found
