"""The rules of health checks: at most one check for each instance that has opted in."""

from collections.abc import Iterable, Sequence
from dataclasses import field, replace

from koi_agent.capabilities.health.checks import CHECK, Defaults, check_of
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import CheckKind, Instance, RecordState
from koi_agent.core.plan.host_names import DOMAIN, host_name
from koi_agent.core.plan.records import Decision, Subject
from koi_agent.core.plan.requests import (
    NO_REQUESTS,
    Award,
    Contender,
    Hold,
    HoldKind,
    Policy,
    Requests,
    hold_of,
)
from koi_agent.core.reach.model import reachability


@frozen()
class HealthRules:
    """The rules under a policy; ``enabled`` is False with ``Health=off``."""

    policy: Policy
    defaults: Defaults = field(default_factory=Defaults)
    enabled: bool = True

    def requests(self, instance: Instance) -> Requests:
        """Return the check of an instance, or the reason why it has no check."""
        if not self.enabled or not self.policy.admits(instance):
            return NO_REQUESTS
        try:
            check = check_of(instance, self.defaults, self.policy.network)
        except BadInput as bad:
            return Requests(decisions=(_no_check(instance, str(bad)),))
        if check is None:
            return NO_REQUESTS
        if check.kind is CheckKind.HTTP:
            check = replace(check, host=self._host(instance))
        return Requests(requests=(check,))

    def _host(self, instance: Instance) -> str:
        """Return the host name by which others request the instance, "" if it has none."""
        if instance.metadata.health_host:
            return instance.metadata.health_host
        if instance.metadata.mdns_enable is False:
            return ""
        reachable = reachability(instance, self.policy.network).endpoints
        try:
            return host_name(instance, self.policy, is_reachable=bool(reachable)) + DOMAIN
        except BadInput:
            return ""

    def hold(self, instance: Instance) -> Hold | None:
        """Return the hold. An unhealthy instance is still checked, because it may recover."""
        hold = hold_of(instance, self.policy)
        return None if hold and hold.kind is HoldKind.UNHEALTHY else hold

    def award(self, contenders: Sequence[Contender]) -> Iterable[Award]:
        """Grant every request: checks do not compete."""
        return [Award(request.name) for _, request in contenders]


def _no_check(instance: Instance, reason: str) -> Decision:
    """Refuse a check. An instance that has just started has no port yet: hold its check."""
    state = RecordState.REFUSED if instance.ports else RecordState.HELD
    reason = reason if instance.ports else "no port of it is known"
    return Decision(subject=Subject.CHECK, about=CHECK, state=state, reason=reason)
