"""The record of one instance at a proxy: a host name on a TLS port, and where requests go."""

from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.key import Key
from koi_agent.core.reach.local import Target

HTTPS: Final = 443


@frozen(kw_only=True)
class Upstream:
    """The place to which a proxy on this host sends requests; ``scheme`` is http or https."""

    scheme: str
    target: Target

    @property
    def url(self) -> str:
        """The URL without a path."""
        return f"{self.scheme}://{self.target.text}"


@frozen(kw_only=True)
class Route:
    """A route of one ``owner``; replicas share a host name, and each adds its upstream.

    ``port`` is the TLS port of the proxy. ``host`` is a full DNS name in lower case.
    """

    port: int
    host: str
    owner: Key
    upstream: Upstream

    @property
    def title(self) -> str:
        """The URL that clients request."""
        return url_of(self.host, self.port)


def url_of(host: str, port: int) -> str:
    """Return the URL of a host name on a TLS port."""
    return f"https://{host}" if port == HTTPS else f"https://{host}:{port}"
