"""The rules of the proxy: a host name leads to one instance, or to the replicas of one project.

The names of instances without a route compete, too: DNS gives them to these instances.
"""

from collections.abc import Iterable, Sequence

from koi_agent.capabilities.proxy.requests import refused, requests_of, reserved
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, RecordState
from koi_agent.core.plan.families import awards
from koi_agent.core.plan.full_names import Domains
from koi_agent.core.plan.requests import (
    NO_REQUESTS,
    Award,
    Contender,
    Hold,
    Policy,
    Requests,
    hold_of,
)

_NO_OUTLET = refused(
    RecordState.HELD, "no proxy is configured: set [Proxy] Caddy= or [Capabilities] Proxy=traefik"
)


@frozen()
class ProxyRules:
    """The rules under a policy.

    ``ports`` are those on which routes are allowed. ``enabled`` is False with ``Proxy=off``.
    ``has_outlet`` is True if a proxy is configured.
    """

    policy: Policy
    domains: Domains
    ports: frozenset[int] = frozenset()
    enabled: bool = True
    has_outlet: bool = True

    def requests(self, instance: Instance) -> Requests:
        """Return the request of an instance; none if it has not opted in.

        An instance that names no port requests that its name leads to no other instance.
        """
        metadata = instance.metadata
        if not self.enabled or not self.policy.admits(instance):
            return NO_REQUESTS
        has_route = metadata.proxy_port is not None and metadata.proxy_enable is not False
        if not self.has_outlet:
            return _NO_OUTLET if has_route else NO_REQUESTS
        if not has_route:
            return reserved(instance, self.policy, self.domains)
        return requests_of(instance, self.policy, self.domains, self.ports)

    def hold(self, instance: Instance) -> Hold | None:
        """Return the hold that all capabilities share."""
        return hold_of(instance, self.policy)

    def award(self, contenders: Sequence[Contender]) -> Iterable[Award]:
        """Assign a host name to the first contender and to the replicas of the same project."""
        return awards(contenders)
