"""The part of Caddy's configuration that the agent may read: what concerns its own objects.

Of others, it contains the addresses of servers, and the names of policies and sites. Caddy refuses
a second policy for a name, and others own the certificates of their sites. Credentials, keys,
files, handlers and other applications stay behind the gate.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from koi_agent.host.caddy.configuration import site_names
from koi_agent.host.caddy.objects import ID, Names

FOREIGN: Final[Mapping[str, Any]] = {}
"""Stands for a route or a TLS policy of others in a server of the agent."""
_OTHER: Final = "of another type"


def view(root: Any, names: Names) -> Any:
    """Return what the agent may read of a whole configuration."""

    def servers(value: Any) -> Any:
        return _each(value, lambda name, one: server_view(name, one, names))

    def policies(value: Any) -> Any:
        if not isinstance(value, list):
            return _null_or_other(value)
        return [one if names.has(one) else _copied(one, subjects=_strings) for one in value]

    def http(value: Any) -> Any:
        return _copied(value, http_port=_number, servers=servers)

    def tls(value: Any) -> Any:
        return _copied(value, automation=lambda one: _copied(one, policies=policies))

    return _copied(root, apps=lambda value: _copied(value, http=http, tls=tls))


def server_view(name: str, server: Any, names: Names) -> Any:
    """Return what the agent may read of a server; the routes of others in its own are empty."""
    if not names.port(name):
        made = _copied(server, listen=_strings)
        hosts = site_names(server)
        return {**made, "routes": [{"match": [{"host": hosts}]}]} if hosts else made

    def routes(value: Any) -> Any:
        if not isinstance(value, list):
            return None
        return [one if names.has(one) else FOREIGN for one in value]

    return _copied(
        server,
        **{ID: _text},
        listen=_strings,
        routes=routes,
        automatic_https=lambda value: _copied(value, disable_redirects=_boolean),
        tls_connection_policies=lambda value: (
            [FOREIGN for _ in value] if isinstance(value, list) else None
        ),
    )


def _copied(value: Any, **fields: Callable[[Any], Any]) -> Any:
    """Copy the named fields of an object that are there; null, and another type, stay visible."""
    if not isinstance(value, dict):
        return _null_or_other(value)
    return {name: filter_(value[name]) for name, filter_ in fields.items() if name in value}


def _each(value: Any, filter_: Callable[[str, Any], Any]) -> Any:
    if not isinstance(value, dict):
        return _null_or_other(value)
    return {name: filter_(name, one) for name, one in value.items()}


def _null_or_other(value: Any) -> Any:
    return None if value is None else _OTHER


def _strings(value: Any) -> Any:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else None


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _number(value: Any) -> Any:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _boolean(value: Any) -> Any:
    return value if isinstance(value, bool) else None
