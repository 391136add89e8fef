"""Health: HTTP and TCP checks of instances that opt in."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from koi_agent.capabilities.health.checks import Defaults
from koi_agent.capabilities.health.kept import Checks
from koi_agent.capabilities.health.provider import Prober
from koi_agent.capabilities.health.rules import HealthRules
from koi_agent.config import Config
from koi_agent.core.contracts import Apply, Capability, Provider
from koi_agent.core.plan.requests import Policy
from koi_agent.host.koi_daemon.settings import koi_settings


def _rules(policy: Policy, config: Config) -> HealthRules:
    health = config.health
    return HealthRules(
        policy,
        Defaults(
            interval=health.interval,
            timeout=health.timeout,
            unhealthy_after=health.unhealthy_after,
        ),
        enabled=config.capabilities.health != "off",
    )


def _providers(config: Config, apply: Apply) -> Mapping[str, Provider[Any]]:
    # With Health=off, the rules request no check. The prober stays and ends the checks one by one.
    word = config.capabilities.health
    if word == "koi" or (word == "auto" and config.koi.endpoint):
        return {"prober": Checks(replace(koi_settings(config), has_fallback=True), apply)}
    return {"prober": Prober(apply)}


HEALTH = Capability(name="health", rules=_rules, providers=_providers, publishes=False)
