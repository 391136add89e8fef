"""Sites: the routes of all instances, with the upstreams of replicas together."""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from koi_agent.capabilities.proxy.records import Route, Upstream, url_of
from koi_agent.core.frozen import frozen
from koi_agent.core.key import Key


@frozen(kw_only=True)
class Site:
    """A host name on a TLS port, with the upstream of each of its owners."""

    port: int
    host: str
    upstreams: tuple[tuple[Key, Upstream], ...]

    @property
    def url(self) -> str:
        """The URL that clients request."""
        return url_of(self.host, self.port)

    @property
    def scheme(self) -> str:
        """The scheme of all upstreams: replicas with a different one are refused."""
        return self.upstreams[0][1].scheme


def sites(routes: Iterable[Route]) -> Sequence[Site]:
    """Return the sites of routes, in the order of ports and host names."""
    found: dict[tuple[int, str], list[Route]] = {}
    for route in sorted(routes, key=attrgetter("port", "host", "owner", "upstream.url")):
        found.setdefault((route.port, route.host), []).append(route)
    return [
        Site(port=port, host=host, upstreams=tuple((one.owner, one.upstream) for one in of_site))
        for (port, host), of_site in found.items()
    ]
