"""The routes at a Koi daemon: one host name for each port, to one address by HTTP.

A proxy of the daemon listens on a port of its own and forwards all of it, whatever the host name.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Final, NamedTuple

from koi_agent.bus.address import address
from koi_agent.bus.end import ends_for_good
from koi_agent.capabilities.proxy.records import Route, Upstream
from koi_agent.capabilities.proxy.sites import Site, sites
from koi_agent.core.contracts import Report
from koi_agent.core.instance import RecordState
from koi_agent.core.key import Key
from koi_agent.host.koi_daemon.daemon import Daemon
from koi_agent.host.koi_daemon.kinds import PROXY, Outcome, text_of
from koi_agent.host.koi_daemon.session import Entry, KoiSession, Plan, Recorded, keeping
from koi_agent.host.koi_daemon.settings import KoiSettings

ONLY_HTTP: Final = Outcome(RecordState.REFUSED, "a Koi daemon forwards to HTTP, not to HTTPS")
ONLY_IPV4: Final = Outcome(RecordState.REFUSED, "a Koi daemon gets IPv4 addresses only")


class _Choice(NamedTuple):
    """A host name that a port may serve, by the instance of this owner."""

    host: str
    owner: Key
    body: str


def plan(routes: Mapping[Key, Sequence[Route]], recorded: Recorded) -> Plan:
    """Return the entries of routes. A port has the site that it had, or else the first one."""
    usable = [one for of_owner in routes.values() for one in of_owner if not _refusal(one)]
    possible: dict[int, list[_Choice]] = {}
    for site in sites(usable):
        choices = [_Choice(site.host, owner, _body(site, one)) for owner, one in site.upstreams]
        possible.setdefault(site.port, []).extend(choices)
    chosen = {
        port: min(choices, key=lambda one: one.body not in recorded(one.host))
        for port, choices in possible.items()
    }
    entries = {
        owner: [_entry(one, chosen) for one in of_owner] for owner, of_owner in routes.items()
    }
    return Plan(bodies={one.host: one.body for one in chosen.values()}, entries=entries)


def _body(site: Site, upstream: Upstream) -> str:
    """Return the body of an entry. An own address of an instance is remote for the daemon."""
    return text_of(
        {
            "name": site.host,
            "listen_port": site.port,
            "backend": upstream.url,
            "allow_remote": not ip_address(upstream.target.address).is_loopback,
        }
    )


def _entry(route: Route, chosen: Mapping[int, _Choice]) -> Entry:
    """Return the entry of a route, or why it has none."""
    if refusal := _refusal(route):
        return Entry(title=route.title, outcome=refusal)
    one = chosen[route.port]
    if one.host != route.host:
        reason = f"a Koi daemon has one host name for each port: {one.host} for {route.port}"
        return Entry(title=route.title, outcome=Outcome(RecordState.HELD, reason))
    if one.owner != route.owner:
        reason = f"a Koi daemon forwards to one instance: {one.owner}"
        return Entry(title=route.title, outcome=Outcome(RecordState.HELD, reason))
    return Entry(title=route.title, key=route.host)


def _refusal(route: Route) -> Outcome | None:
    """Return why a route is not sent, None if it may be."""
    if route.upstream.scheme != "http":
        return ONLY_HTTP
    return ONLY_IPV4 if ":" in route.upstream.target.address else None


@asynccontextmanager
async def serving(settings: KoiSettings, report: Report) -> AsyncIterator[KoiSession[Route]]:
    """Send routes until the context is left; raise ``ProviderLost``."""

    async def planner(
        _daemon: Daemon, routes: Mapping[Key, Sequence[Route]], recorded: Recorded
    ) -> Plan:
        return plan(routes, recorded)

    async def ends() -> bool:
        return await ends_for_good(address(settings.scope))

    async with keeping(settings, PROXY, planner, report, ends) as session:
        yield session
