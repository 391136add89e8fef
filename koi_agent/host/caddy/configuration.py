"""Reads Caddy's configuration: the objects of the agent, and those of others that affect them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.text import printable
from koi_agent.host.caddy.objects import ID, Json, Names

SERVERS: Final = ("apps", "http", "servers")
POLICIES: Final = ("apps", "tls", "automation", "policies")
_HTTP_PORT: Final = ("apps", "http", "http_port")
_USUAL_HTTP_PORT: Final = 80
_PORTS: Final = re.compile(r":([0-9]{1,5})(?:-([0-9]{1,5}))?$")


@frozen(kw_only=True)
class Configuration:
    """A configuration as Caddy has it.

    Equal configurations have the same ``digest``. ``etag`` is "" where the version sends none.
    """

    root: Any
    names: Names
    digest: bytes = b""
    etag: str = ""

    def servers(self) -> Mapping[str, Any]:
        """Return all servers by name; raise ``BadInput``."""
        found = self.at(SERVERS)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise BadInput(f"{'/'.join(SERVERS)} of its configuration is not an object")
        return found

    def own_servers(self) -> Mapping[int, Json]:
        """Return the servers of the agent by port."""
        ports = {name: self.names.port(name) for name in self.servers()}
        return {
            ports[name]: value
            for name, value in self.servers().items()
            if ports[name] and isinstance(value, dict)
        }

    def listener(self, port: int) -> str:
        """Return the name of another server that listens on a port, "" for none."""
        others = ((name, one) for name, one in self.servers().items() if not self.names.port(name))
        return next((name for name, one in others if port in _ports(one)), "")

    def obstacle(self, port: int) -> str:
        """Return the reason why no route can be served on a port with TLS, "" for none."""
        if server := self.listener(port):
            return f"server {printable(server, 80)} of Caddy's own configuration has port {port}"
        if port == self._http_port():
            return f"Caddy serves its http_port {port} without TLS"
        return ""

    def _http_port(self) -> int:
        """Return the port on which no server of Caddy uses TLS."""
        found = self.at(_HTTP_PORT)
        return found if isinstance(found, int) and found else _USUAL_HTTP_PORT

    def policies(self) -> Sequence[Any]:
        """Return all policies for certificates; raise ``BadInput``."""
        found = self.at(POLICIES)
        if found is None:
            return ()
        if not isinstance(found, list):
            raise BadInput(f"{'/'.join(POLICIES)} of its configuration is not an array")
        return found

    def own_policies(self) -> Sequence[int]:
        """Return the positions of the agent's policy: one, unless something went wrong."""
        id_ = self.names.policy
        return [n for n, one in enumerate(self.policies()) if _fields(one).get(ID) == id_]

    def has_wide_policy_before(self, position: int) -> bool:
        """Return True if a wildcard policy of others precedes that of the agent."""
        before = (_subjects(one) for one in self.policies()[:position])
        return any(not names or any("*" in name for name in names) for names in before)

    def of_others(self, hosts: Iterable[str]) -> frozenset[str]:
        """Return the names among these whose certificates others configure.

        Caddy refuses a second policy for a name. A policy for the name of another site would change
        the certificate of that site.
        """
        policies = (one for one in self.policies() if not self.names.has(one))
        subjects = frozenset(name for one in policies for name in _subjects(one))
        sites = frozenset(name for one in self._servers_of_others() for name in site_names(one))
        return frozenset(one for one in hosts if one in subjects or {one, _wildcard(one)} & sites)

    def _servers_of_others(self) -> Iterator[Any]:
        """Yield the servers of others that may serve TLS."""
        http = {self._http_port()}
        others = (one for name, one in self.servers().items() if not self.names.port(name))
        for server in others:
            ports = _ports(server)
            if not ports or ports - http:
                yield server

    def at(self, path: Sequence[str]) -> Any:
        """Return the value at a path, None without one; raise ``BadInput``."""
        value = self.root
        for position, key in enumerate(path):
            if value is None:
                return None
            if not isinstance(value, dict):
                where = "/".join(path[:position])
                raise BadInput(f"{where or 'the root'} of its configuration is not an object")
            value = value.get(key)
        return value


def site_names(server: object) -> Sequence[str]:
    """Return the sorted host names in the routes of a server, including nested routes."""
    found: set[str] = set()
    waiting: list[Any] = [_fields(server).get("routes")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            found.update(_matched(value.get("match")))
            waiting += value.values()
    return sorted(found)


def _matched(matchers: object) -> Iterator[str]:
    """Yield the host names of the matchers of a route, in lower case."""
    for one in matchers if isinstance(matchers, list) else ():
        hosts = _fields(one).get("host")
        for host in hosts if isinstance(hosts, list) else ():
            if isinstance(host, str):
                yield host.lower()


def _wildcard(host: str) -> str:
    """Return the wildcard that matches a name."""
    return f"*.{host.partition('.')[2]}"


def _fields(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _subjects(policy: object) -> Sequence[str]:
    found = _fields(policy).get("subjects")
    return [one.lower() for one in found if isinstance(one, str)] if isinstance(found, list) else ()


def _ports(server: object) -> frozenset[int]:
    """Return the ports on which a server listens, at any address."""
    found = _fields(server).get("listen")
    listed = found if isinstance(found, list) else []
    return frozenset(port for one in listed if isinstance(one, str) for port in _range(one))


def _range(address: str) -> Iterator[int]:
    if match := _PORTS.search(address):
        first = int(match[1])
        yield from range(first, min(int(match[2] or first), 65535) + 1)
