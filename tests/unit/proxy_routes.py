"""Routes for tests, and the session of a proxy that gets them."""

from collections.abc import Sequence

from koi_agent.capabilities.proxy.records import Route, Upstream
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.key import Key
from koi_agent.core.reach.local import Target
from tests.unit.dns_zones import key


def route(
    owner: str = "a",
    host: str = "wiki.internal",
    *,
    port: int = 443,
    scheme: str = "http",
    address: str = "127.0.0.1",
    to: int = 8080,
) -> Route:
    upstream = Upstream(scheme=scheme, target=Target(address, to))
    return Route(port=port, host=host, owner=key(owner), upstream=upstream)


async def put(session: ProviderSession[Route], *routes: Route) -> None:
    """Set the routes of each owner."""
    owners: dict[Key, Sequence[Route]] = {}
    for one in routes:
        owners[one.owner] = (*owners.get(one.owner, ()), one)
    for owner, records in owners.items():
        await session.put(owner, records)
