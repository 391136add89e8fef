"""Compares what Caddy has with what is wanted: each step is one request that changes Caddy.

Policies come before routes. Without its policy, a name would be sent to a public authority.
Objects of others stay as they are, even inside a server of the agent.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from koi_agent.capabilities.proxy.sites import Site
from koi_agent.config.proxy import CONFIGURED, INTERNAL
from koi_agent.core.frozen import frozen
from koi_agent.host.caddy import objects
from koi_agent.host.caddy.configuration import POLICIES, SERVERS, Configuration
from koi_agent.host.caddy.objects import ID, Forwarding, Json, Names

EVERYTHING: Final = 0
"""The ``port`` of a step on which all ports depend."""


class Step(NamedTuple):
    """One request. The routes on ``port`` need it."""

    method: str
    path: str
    body: bytes | None
    port: int


@frozen(kw_only=True)
class Wanted:
    """The sites that Caddy is to serve.

    ``is_complete`` is False while sites of an earlier run may still be wanted. ``issuer`` is that
    of the certificates, as in the settings. ``keeps_streams`` is True if the version of Caddy can
    keep websockets over a change.
    """

    sites: Sequence[Site]
    is_complete: bool = True
    issuer: str = INTERNAL
    keeps_streams: bool = True

    @property
    def has_policy(self) -> bool:
        """True if the agent decides on the issuer."""
        return self.issuer != CONFIGURED

    def policy(self, names: Names, hosts: Iterable[str]) -> Json:
        """Return the policy for host names."""
        return objects.policy(names, hosts, self.issuer)


def steps(found: Configuration, wanted: Wanted) -> Iterator[Step]:
    """Yield the steps in order; after each one, the configuration must be read again.

    A step that fails does not change Caddy: the next one of another port can follow. Raises
    ``BadInput`` for a configuration that is not understood.
    """
    held = obstacles(found, {one.port for one in wanted.sites})
    sites = [one for one in wanted.sites if one.port not in held]
    routes = _routes(found, wanted, sites)
    hosts = {host for of_port in routes.values() for one in of_port for host in _hosts(one)}
    if not wanted.has_policy:
        hosts = set()
    hosts -= found.of_others(hosts)
    yield from _certified(found, wanted, hosts)
    yield from _served(found, routes)
    if wanted.is_complete:  # each change cuts connections, and more sites may follow
        yield from _certified_only(found, wanted, hosts)


def _routes(
    found: Configuration, wanted: Wanted, sites: Iterable[Site]
) -> Mapping[int, Sequence[Json]]:
    """Return the routes of the agent on each port that is wanted, or that it has."""
    names = found.names
    routes: dict[int, dict[str, Json]] = {port: {} for port in found.own_servers()}
    if not wanted.is_complete:
        for port, server in found.own_servers().items():
            if not found.obstacle(port):
                routes[port] = {one[ID]: one for one in _listed(server) if names.has(one)}
    for site in sites:
        made = objects.route(names, _forwarding(site, keeps_streams=wanted.keeps_streams))
        routes.setdefault(site.port, {})[made[ID]] = made
    return {port: [of_port[id_] for id_ in sorted(of_port)] for port, of_port in routes.items()}


def _forwarding(site: Site, *, keeps_streams: bool) -> Forwarding:
    dials = dict.fromkeys(upstream.target.text for _, upstream in site.upstreams)
    return Forwarding(
        port=site.port,
        host=site.host,
        dials=tuple(dials),
        is_https=site.scheme == "https",
        keeps_streams=keeps_streams,
    )


def _listed(server: Mapping[str, Any]) -> Sequence[Any]:
    found = server.get("routes")
    return found if isinstance(found, list) else ()


def _hosts(route: Json) -> Iterator[str]:
    """Yield the host names of a route of the agent, which others may have changed."""
    matchers = route.get("match")
    for matcher in matchers if isinstance(matchers, list) else ():
        found = matcher.get("host") if isinstance(matcher, dict) else None
        listed = found if isinstance(found, list) else ()
        yield from (one for one in listed if isinstance(one, str))


def _certified(found: Configuration, wanted: Wanted, hosts: set[str]) -> Iterator[Step]:
    """Yield the steps after which there is a policy with at least these host names."""
    id_ = found.names.policy
    own = found.own_policies()
    if len(own) > 1:
        yield Step("DELETE", f"/id/{id_}", None, EVERYTHING)
    if not own:
        if hosts:
            yield _added_policy(found, wanted.policy(found.names, hosts))
        return
    first = own[0]
    if hosts and found.has_wide_policy_before(first):
        yield Step("DELETE", f"/id/{id_}", None, EVERYTHING)
    known = found.policies()[first]
    subjects = known.get("subjects")
    has = {one for one in subjects if isinstance(one, str)} if isinstance(subjects, list) else set()
    made = wanted.policy(found.names, (hosts | has) - found.of_others(hosts | has))
    if hosts and not (hosts <= has and known.get("issuers") == made["issuers"]):
        yield Step("PATCH", f"/id/{id_}", _json(made), EVERYTHING)


def _certified_only(found: Configuration, wanted: Wanted, hosts: set[str]) -> Iterator[Step]:
    """Yield the step after which the policy has no other host names."""
    for position in found.own_policies()[:1]:
        path = f"/id/{found.names.policy}"
        made = wanted.policy(found.names, hosts)
        if not hosts:
            yield Step("DELETE", path, None, EVERYTHING)
        elif found.policies()[position] != made:
            yield Step("PATCH", path, _json(made), EVERYTHING)


def _added_policy(found: Configuration, made: Json) -> Step:
    """Return the step that puts a policy before all others."""
    if found.at(POLICIES) is None:
        return _added(found, POLICIES, [made], EVERYTHING)
    if not found.policies():  # Caddy can't insert into an empty array
        return Step("POST", f"/config/{'/'.join(POLICIES)}", _json(made), EVERYTHING)
    return Step("PUT", f"/config/{'/'.join(POLICIES)}/0", _json(made), EVERYTHING)


def _served(found: Configuration, routes: Mapping[int, Sequence[Json]]) -> Iterator[Step]:
    """Yield a step for each server that differs."""
    known = found.own_servers()
    for port in sorted(routes):
        path = (*SERVERS, found.names.server(port))
        has = known.get(port)
        others = [one for one in _listed(has or {}) if not found.names.has(one)]
        if has is not None and not routes[port] and not others:
            yield Step("DELETE", f"/config/{'/'.join(path)}", None, port)
            continue
        made = objects.server(found.names, port, has or {}, [*routes[port], *others])
        if has is None and routes[port]:
            yield _added(found, path, made, port)
        elif has is not None and made != has:
            yield Step("PATCH", f"/config/{'/'.join(path)}", _json(made), port)


def _added(found: Configuration, path: Sequence[str], value: Any, port: int) -> Step:
    """Return the step that adds a value with the parents that are absent."""
    at = len(path)
    while at > 1 and found.at(path[: at - 1]) is None:
        at -= 1
        value = {path[at]: value}
    if found.root is None:
        return Step("POST", "/config/", _json({path[0]: value}), port)
    parent = found.at(path[: at - 1])
    # A key with the value null exists already, so PUT would refuse it.
    method = "POST" if isinstance(parent, dict) and path[at - 1] in parent else "PUT"
    return Step(method, f"/config/{'/'.join(path[:at])}", _json(value), port)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def unserved(found: Configuration, wanted: Wanted) -> Sequence[Site]:
    """Return the sites that Caddy does not serve as they are wanted; raise ``BadInput``."""
    names = found.names
    listed = (one for server in found.own_servers().values() for one in _listed(server))
    has = {one[ID]: one for one in listed if names.has(one)}
    own = (found.policies()[position] for position in found.own_policies())
    known = (policy.get("subjects") for policy in own)
    certified = {name for subjects in known if isinstance(subjects, list) for name in subjects}
    certified |= found.of_others(one.host for one in wanted.sites)

    def is_served(site: Site) -> bool:
        made = objects.route(names, _forwarding(site, keeps_streams=wanted.keeps_streams))
        is_certified = site.host in certified or not wanted.has_policy
        return is_certified and has.get(made[ID]) == made

    return [one for one in wanted.sites if not is_served(one)]


def obstacles(found: Configuration, ports: Iterable[int]) -> Mapping[int, str]:
    """Return the reason for each port that can't be served."""
    reasons = {port: found.obstacle(port) for port in ports}
    return {port: reason for port, reason in reasons.items() if reason}
