"""Checks what the agent writes, and makes it again in one spelling.

An object passes if the agent itself would make it from the same host names and upstreams. The gate
makes it from these, and compares. Routes of others in a server of the agent come from Caddy.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from koi_agent.config.proxy import CONFIGURED, INTERNAL
from koi_agent.core.frozen import frozen
from koi_agent.core.plan.full_names import Domains
from koi_agent.host.caddy import objects
from koi_agent.host.caddy.configuration import POLICIES, SERVERS, Configuration
from koi_agent.host.caddy.objects import ID, Json
from koi_agent.services.gate.caddy.forwardings import check_host, parse_route
from koi_agent.services.gate.caddy.requests import Kind, Request
from koi_agent.services.gate.caddy.views import FOREIGN, server_view
from koi_agent.services.gate.head import Forbidden


class Changed(Exception):
    """The configuration has changed since the client read it: the client must read it again."""


@frozen(kw_only=True)
class Allowed:
    """The ports, the domains of host names, and the issuer that the administrator allows."""

    ports: frozenset[int]
    domains: Domains
    issuer: str = INTERNAL


def parse_body(body: bytes) -> Any:
    """Parse JSON without duplicate keys; raise ``Forbidden``."""
    try:
        return json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Forbidden("body is not JSON, or has a key twice") from error


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number of JSON")


def spelled(request: Request, body: Any, found: Configuration, allowed: Allowed) -> Any:
    """Return what Caddy gets for a body, None for nothing; raise ``Forbidden`` or ``Changed``.

    ``found`` is the whole configuration that Caddy has.
    """
    match request.kind:
        case Kind.ADD:
            return _added(request, body, found, allowed)
        case Kind.INSERT_POLICY:
            if not found.policies():
                raise Changed
            return _new_policy(body, found, allowed)
        case Kind.CHANGE_POLICY:
            return _policy(body, found, allowed)
        case Kind.CHANGE_SERVER:
            return _server(request.port, body, found, allowed)
        case Kind.REMOVE_SERVER if _of_others(found.own_servers().get(request.port), found):
            raise Changed
    return None


def _added(request: Request, body: Any, found: Configuration, allowed: Allowed) -> Any:
    """Return an object with the parents that are absent."""
    there = found.at(request.at)
    if request.at == POLICIES and there == []:  # Caddy appends to an array
        return _new_policy(body, found, allowed)
    whole, inner = _unwrapped(request.at, body)
    if there is not None:
        raise Changed
    made: Any
    if whole == POLICIES:
        if not isinstance(inner, list) or len(inner) != 1:
            raise Forbidden("policies are not exactly one")
        made = [_new_policy(inner[0], found, allowed)]
    else:
        port = found.names.port(whole[-1])
        if whole[-1] != found.names.server(port):
            raise Forbidden("server is not one of the agent")
        made = _server(port, inner, found, allowed)
    for key in reversed(whole[len(request.at) :]):
        made = {key: made}
    return made


def _unwrapped(at: tuple[str, ...], body: Any) -> tuple[tuple[str, ...], Any]:
    """Return the keys that lead to the object, and the object; raise ``Forbidden``."""
    while at != POLICIES and at[:-1] != SERVERS:
        if not isinstance(body, dict) or len(body) != 1:
            raise Forbidden("parent has not exactly one key")
        ((key, body),) = body.items()
        at = (*at, key)
        if not any(whole[: len(at)] == at[: len(whole)] for whole in (POLICIES, SERVERS)):
            raise Forbidden("key of a parent not allowed")
    return at, body


def _new_policy(body: Any, found: Configuration, allowed: Allowed) -> Json:
    if found.own_policies():
        raise Changed
    return _policy(body, found, allowed)


def _policy(body: Any, found: Configuration, allowed: Allowed) -> Json:
    """Return the policy; names that it already has at Caddy may stay."""
    subjects = body.get("subjects") if isinstance(body, dict) else None
    if not isinstance(subjects, list) or not all(isinstance(one, str) for one in subjects):
        raise Forbidden("policy without names")
    if not subjects:
        raise Forbidden("policy for all names")
    known = [found.policies()[position].get("subjects") for position in found.own_policies()]
    kept = [one for of_policy in known if isinstance(of_policy, list) for one in of_policy]
    added = [subject for subject in subjects if subject not in kept]
    for subject in added:
        check_host(subject, allowed.domains)
    if found.of_others(added):
        raise Forbidden("policy for a name of others")
    for issuer in {INTERNAL, allowed.issuer} - {CONFIGURED}:
        made = objects.policy(found.names, set(subjects), issuer)
        if made == body:
            return made
    raise Forbidden("policy is not as the agent makes it")


def _server(port: int, body: Any, found: Configuration, allowed: Allowed) -> Json:
    """Return a server, together with what others have added to it."""
    names = found.names
    known = found.own_servers().get(port, {})
    routes = body.get("routes") if isinstance(body, dict) else None
    if not isinstance(routes, list):
        raise Forbidden("server without routes")
    seen = server_view(names.server(port), known, names)
    if body != objects.server(names, port, seen, routes):
        raise Forbidden("server is not as the agent makes it")
    if not known or any(one != FOREIGN for one in routes):
        _check_port(port, found, allowed)
    merged = _merged(port, routes, _of_others(known, found), found, allowed)
    return objects.server(names, port, known, merged)


def _check_port(port: int, found: Configuration, allowed: Allowed) -> None:
    if port not in allowed.ports:
        raise Forbidden(f"port {port} is not among [Proxy] Ports=")
    if obstacle := found.obstacle(port):
        raise Forbidden(obstacle)


def _merged(
    port: int, routes: Sequence[Any], theirs: Sequence[Any], found: Configuration, allowed: Allowed
) -> Sequence[Any]:
    """Return the routes of a server, with those of others in their places."""
    names = found.names
    kept = {one[ID]: one for one in _routes(found.own_servers().get(port)) if names.has(one)}
    if sum(one == FOREIGN for one in routes) != len(theirs):
        raise Changed
    rest = iter(theirs)
    made = [
        next(rest)
        if one == FOREIGN
        else _kept(one, kept) or parse_route(one, names, port, allowed.domains)
        for one in routes
    ]
    ids = [one[ID] for one in made if names.has(one)]
    if len(set(ids)) < len(ids):
        raise Forbidden("route is there twice")
    return made


def _kept(route: Any, kept: Mapping[str, Json]) -> Json | None:
    """Return a route of the agent that Caddy has already, whatever is in it."""
    id_ = route.get(ID) if isinstance(route, dict) else None
    known = kept.get(id_) if isinstance(id_, str) else None
    return known if known == route else None


def _of_others(server: Any, found: Configuration) -> Sequence[Any]:
    return [one for one in _routes(server) if not found.names.has(one)]


def _routes(server: Any) -> Sequence[Any]:
    listed = server.get("routes") if isinstance(server, dict) else None
    return listed if isinstance(listed, list) else ()
