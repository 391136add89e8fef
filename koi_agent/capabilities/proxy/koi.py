"""The routes at a Koi daemon: one host name for each port, and one port for each host name.

A proxy of the daemon is named by its host name. It listens on its own port and forwards all
requests by HTTP to one address, whatever their host names are.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
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

    port: int
    host: str
    owner: Key
    body: str


class _Chosen:
    """The routes that are sent: a port has one host name, and a host name has one port."""

    def __init__(self, possible: Iterable[_Choice]) -> None:
        self.ports: dict[int, _Choice] = {}
        self.hosts: dict[str, _Choice] = {}
        for one in possible:
            if one.port not in self.ports and one.host not in self.hosts:
                self.ports[one.port] = self.hosts[one.host] = one


def plan(routes: Mapping[Key, Sequence[Route]], recorded: Recorded) -> Plan:
    """Return the entries of routes. A port has the site that it had, or else the first one."""
    usable = [one for of_owner in routes.values() for one in of_owner if not _refusal(one)]
    possible = [
        _Choice(site.port, site.host, owner, _body(site, one))
        for site in sites(usable)
        for owner, one in site.upstreams
    ]
    chosen = _Chosen(sorted(possible, key=lambda one: one.body not in recorded(one.host)))
    entries = {
        owner: [_entry(one, chosen) for one in of_owner] for owner, of_owner in routes.items()
    }
    bodies = {host: one.body for host, one in chosen.hosts.items()}
    return Plan(bodies=bodies, entries=entries)


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


def _entry(route: Route, chosen: _Chosen) -> Entry:
    """Return the entry of a route, or why it has none."""
    outcome = _refusal(route)
    if not outcome and (reason := _obstacle(route, chosen)):
        outcome = Outcome(RecordState.HELD, reason)
    if outcome:
        return Entry(title=route.title, outcome=outcome)
    return Entry(title=route.title, key=route.host)


def _obstacle(route: Route, chosen: _Chosen) -> str:
    """Return why another route is sent instead, "" if this one is sent."""
    of_host = chosen.hosts.get(route.host)
    if not of_host:
        host = chosen.ports[route.port].host
        return f"a Koi daemon has one host name for each port: {host} for {route.port}"
    if of_host.port != route.port:
        return f"a Koi daemon has one port for each host name: {of_host.port} for {route.host}"
    if of_host.owner != route.owner:
        return f"a Koi daemon forwards to one instance: {of_host.owner}"
    return ""


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
