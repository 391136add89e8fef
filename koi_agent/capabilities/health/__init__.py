"""Health: HTTP and TCP checks of instances that opt in."""

from collections.abc import Mapping
from typing import Any

from koi_agent.capabilities.health.checks import Defaults
from koi_agent.capabilities.health.provider import Prober
from koi_agent.capabilities.health.rules import HealthRules
from koi_agent.config import Config
from koi_agent.core.contracts import Apply, Capability, Provider
from koi_agent.core.plan.requests import Policy


def _rules(policy: Policy, config: Config) -> HealthRules:
    health = config.health
    return HealthRules(
        policy,
        Defaults(
            interval=health.interval,
            timeout=health.timeout,
            unhealthy_after=health.unhealthy_after,
        ),
        enabled=config.capabilities.health == "auto",
    )


def _providers(_config: Config, apply: Apply) -> Mapping[str, Provider[Any]]:
    # With Health=off the rules request no check. The prober stays and ends the checks one by one.
    return {"prober": Prober(apply)}


HEALTH = Capability(name="health", rules=_rules, providers=_providers, publishes=False)
