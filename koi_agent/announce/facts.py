"""The facts from which the policy follows."""

from typing import NamedTuple

from koi_agent.config import Config
from koi_agent.core.plan.name_rules import NameRules
from koi_agent.core.plan.requests import Policy
from koi_agent.core.reach.network import HostNetwork


class Facts(NamedTuple):
    """The configuration and the state of the host."""

    config: Config
    host_names: frozenset[str]
    lost: frozenset[str]
    network: HostNetwork

    def policy(self) -> Policy:
        """Return the policy; ``Policy`` describes its fields."""
        capabilities = self.config.capabilities
        return Policy(
            host_names=self.host_names,
            partner_labels=capabilities.partner_labels,
            withdraw_unhealthy=self.config.health.withdraw_unhealthy,
            lost=self.lost,
            network=self.network,
            names=NameRules(allow=capabilities.allow_names, deny=capabilities.deny_names),
        )
