"""The rules of DNS: a name has one owner, or belongs to the replicas of one project."""

from collections.abc import Iterable, Sequence

from koi_agent.capabilities.dns.requests import requests_of
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance
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


@frozen()
class DnsRules:
    """The rules under a policy; ``enabled`` is False without an outlet."""

    policy: Policy
    domains: Domains
    enabled: bool = True

    def requests(self, instance: Instance) -> Requests:
        """Return the request of an instance; none if it has not opted in, or out."""
        opted_out = instance.metadata.dns_enable is False
        if not self.enabled or opted_out or not self.policy.admits(instance):
            return NO_REQUESTS
        return requests_of(instance, self.policy, self.domains)

    def hold(self, instance: Instance) -> Hold | None:
        """Return the hold that all capabilities share."""
        return hold_of(instance, self.policy)

    def award(self, contenders: Sequence[Contender]) -> Iterable[Award]:
        """Assign a name to the first contender and to the replicas of the same project."""
        return awards(contenders)
