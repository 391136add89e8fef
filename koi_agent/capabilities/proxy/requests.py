"""The requests of an instance to the proxy: a route on its port, or only a reservation."""

from collections.abc import Hashable
from dataclasses import replace
from typing import Final

from koi_agent.capabilities.proxy.records import Route, Upstream, url_of
from koi_agent.capabilities.proxy.upstreams import scheme_of, upstream_of
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, RecordState
from koi_agent.core.key import Key
from koi_agent.core.plan.families import family_of
from koi_agent.core.plan.full_names import Domains, full_name
from koi_agent.core.plan.records import Decision, Subject
from koi_agent.core.plan.requests import NO_REQUESTS, Award, Policy, Requests
from koi_agent.core.reach.bounds import NotNow

ABOUT: Final = "route"


@frozen(kw_only=True)
class RouteRequest:
    """A request for a host name at the proxy; requests of one ``family`` share it."""

    name: str
    family: tuple[str, ...]
    port: int
    upstream: Upstream

    @property
    def contest(self) -> Hashable:
        """Host names compete on all ports together, as they do in DNS."""
        return self.name

    def record(self, owner: Key, award: Award) -> Route:
        """Build the record."""
        return Route(owner=owner, host=award.name, port=self.port, upstream=self.upstream)

    def decision(self, award: Award) -> Decision:
        """Describe the route, or the refusal."""
        if not award.name:
            return _decision(RecordState.REFUSED, award.reason)
        url = url_of(award.name, self.port)
        return _decision(RecordState.WANTED, f"{url} to {self.upstream.url}")


@frozen(kw_only=True)
class Reservation:
    """The DNS name of an instance without a route: no later instance gets a route for it."""

    name: str
    family: tuple[str, ...]

    @property
    def contest(self) -> Hashable:
        """The name competes with those of routes."""
        return self.name

    def record(self, _owner: Key, _award: Award) -> None:
        """Return nothing: there is no route."""

    def decision(self, _award: Award) -> None:
        """Return nothing: the instance has not requested a route."""


def reserved(instance: Instance, policy: Policy, domains: Domains) -> Requests:
    """Return the request that keeps the DNS name of an instance from routes to others."""
    if instance.metadata.dns_enable is False:
        return NO_REQUESTS
    try:
        name = full_name(instance, domains, policy)
    except BadInput:
        return NO_REQUESTS
    family = (*family_of(instance), scheme_of(instance))
    return Requests(requests=(Reservation(name=name, family=family),))


def requests_of(
    instance: Instance, policy: Policy, domains: Domains, ports: frozenset[int]
) -> Requests:
    """Return the request of an instance that names a port of the proxy.

    ``ports`` are those on which the administrator allows routes.
    """
    try:
        request = RouteRequest(
            port=_allowed(instance, ports),
            name=full_name(instance, domains, policy),
            upstream=(upstream := upstream_of(instance, policy.network)),
            family=(*family_of(instance), upstream.scheme),
        )
    except NotNow as obstacle:
        decided = refused(RecordState.HELD, str(obstacle))
    except BadInput as bad:
        decided = refused(RecordState.REFUSED, str(bad))
    else:
        return Requests(requests=(request,))
    return replace(decided, requests=reserved(instance, policy, domains).requests)


def refused(state: RecordState, reason: str) -> Requests:
    """Return the decision that there is no route: refused, or held for now."""
    return Requests(decisions=(_decision(state, reason),))


def _allowed(instance: Instance, ports: frozenset[int]) -> int:
    """Return the port that an instance names; raise ``BadInput`` if it is not allowed."""
    port = instance.metadata.proxy_port
    if port is None or port not in ports:
        raise BadInput(f"port {port} is not among [Proxy] Ports=")
    return port


def _decision(state: RecordState, reason: str) -> Decision:
    return Decision(subject=Subject.ROUTE, about=ABOUT, state=state, reason=reason)
