"""The objects of Caddy's configuration that the agent writes, with its mark in each ``@id``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from koi_agent.config.proxy import INTERNAL
from koi_agent.core.frozen import frozen

ID: Final = "@id"
STREAMS: Final = "stream_close_delay"
"""The field that keeps websockets over a change of the configuration, since Caddy 2.7."""
_KEPT: Final = "5m"
"""Bounds memory: Caddy keeps an old configuration while a websocket is open in it."""
Json = dict[str, Any]


@frozen()
class Names:
    """The names of the objects of the agent with this ``mark``."""

    mark: str

    @property
    def prefix(self) -> str:
        """The beginning of all identifiers."""
        return f"koi-{self.mark}-"

    @property
    def policy(self) -> str:
        """The identifier of the policy for certificates."""
        return f"{self.prefix}certificates"

    def server(self, port: int) -> str:
        """Return the name and the identifier of the server on a port."""
        return f"{self.prefix}{port}"

    def route(self, port: int, host: str) -> str:
        """Return the identifier of the route of a host name on a port."""
        return f"{self.prefix}{port}-{host}"

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


@frozen(kw_only=True)
class Forwarding:
    """How requests for a host name on a port reach its upstreams.

    ``dials`` are the addresses and ports of its upstreams. ``keeps_streams`` is True if the version
    of Caddy can keep websockets over a change.
    """

    port: int
    host: str
    dials: tuple[str, ...]
    is_https: bool = False
    keeps_streams: bool = True


def route(names: Names, forwarding: Forwarding) -> Json:
    """Return the route of a host name."""
    handler: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": dial} for dial in forwarding.dials],
    }
    if forwarding.keeps_streams:
        handler[STREAMS] = _KEPT
    if forwarding.is_https:  # no certificate is valid for a numeric address
        handler["transport"] = {"protocol": "http", "tls": {"insecure_skip_verify": True}}
    return {
        ID: names.route(forwarding.port, forwarding.host),
        "match": [{"host": [forwarding.host]}],
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


def policy(names: Names, hosts: Iterable[str], issuer: str = INTERNAL) -> Json:
    """Return the policy by which an issuer issues certificates for host names.

    It is Caddy's own authority, or the one with this URL of an ACME directory.
    """
    made = {"module": INTERNAL} if issuer == INTERNAL else {"module": "acme", "ca": issuer}
    return {ID: names.policy, "subjects": sorted(hosts), "issuers": [made]}
