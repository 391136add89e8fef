"""The objects of Caddy's configuration that the agent writes, with its mark in each ``@id``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from koi_agent.capabilities.proxy.sites import Site
from koi_agent.core.frozen import frozen

ID: Final = "@id"
STREAMS: Final = "stream_close_delay"
"""The field that keeps websockets over a change of the configuration, since Caddy 2.7."""
_KEPT: Final = "5m"
Json = dict[str, Any]


@frozen()
class Names:
    """The names of the objects of the agent with this ``mark``."""

    mark: str

    @property
    def prefix(self) -> str:
        """The begin of all identifiers."""
        return f"koi-{self.mark}-"

    @property
    def policy(self) -> str:
        """The identifier of the policy for certificates."""
        return f"{self.prefix}certificates"

    def server(self, port: int) -> str:
        """Return the name and the identifier of the server on a port."""
        return f"{self.prefix}{port}"

    def route(self, site: Site) -> str:
        """Return the identifier of the route of a site."""
        return f"{self.prefix}{site.port}-{site.host}"

    def port(self, server: str) -> int:
        """Return the port of a server by its name; 0 for a server of others."""
        digits = server.removeprefix(self.prefix)
        return int(digits) if server.startswith(self.prefix) and _is_port(digits) else 0

    def has(self, value: object) -> bool:
        """Return True for an object of the agent."""
        id_ = value.get(ID) if isinstance(value, dict) else None
        return isinstance(id_, str) and id_.startswith(self.prefix)


def _is_port(digits: str) -> bool:
    return digits.isascii() and digits.isdecimal() and len(digits) <= 5


def route(names: Names, site: Site, *, keeps_streams: bool) -> Json:
    """Return the route of a site."""
    dials = dict.fromkeys(upstream.target.text for _, upstream in site.upstreams)
    handler: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": dial} for dial in dials],
    }
    if keeps_streams:
        handler[STREAMS] = _KEPT
    if site.scheme == "https":  # no certificate is valid for a numeric address
        handler["transport"] = {"protocol": "http", "tls": {"insecure_skip_verify": True}}
    return {
        ID: names.route(site),
        "match": [{"host": [site.host]}],
        "handle": [handler],
        "terminal": True,
    }


def server(names: Names, port: int, known: Mapping[str, Any], routes: Sequence[Any]) -> Json:
    """Return the server on a port; fields of others in the ``known`` one stay as they are.

    Redirects would open port 80, which the administrator did not allow.
    """
    automatic = known.get("automatic_https")
    return {
        **known,
        ID: names.server(port),
        "listen": [f":{port}"],
        "routes": [*routes],
        "automatic_https": {
            **(automatic if isinstance(automatic, dict) else {}),
            "disable_redirects": True,
        },
        "tls_connection_policies": known.get("tls_connection_policies") or [{}],
    }


def policy(names: Names, hosts: Iterable[str]) -> Json:
    """Return the policy by which Caddy's own authority issues certificates for host names."""
    return {ID: names.policy, "subjects": sorted(hosts), "issuers": [{"module": "internal"}]}
