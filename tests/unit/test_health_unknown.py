"""An instance that this host can't check has unknown health, with the reason."""

from dataclasses import replace

import pytest

from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.capabilities.health.rules import HealthRules
from koi_agent.core.instance import EnabledBy, Instance, KoiMetadata, PortMapping, PortSource
from koi_agent.core.plan.planner import Planner
from koi_agent.core.plan.requests import Policy
from koi_agent.core.traits import CONTAINER
from tests.unit.networks import HOST
from tests.unit.test_health_checks import made, port

OWN = PortMapping(
    container_port=80,
    host_port=0,
    protocol=port(80, 80).protocol,
    host_ip="",
    source=PortSource.DECLARED,
)
DECLARED = replace(OWN, host_port=80)
BEYOND = {
    "192.0.2.77 is on lan0 by macvlan or ipvlan, past this host": made(OWN, ips=("192.0.2.77",)),
    "10.88.0.2 is on no network of this host": made(OWN, ips=("10.88.0.2",)),
    "no address of the instance is known": made(OWN),
    "nothing of it listens on port 80 of this host": made(DECLARED),
    "it is bound to lan0: connections of this host go through lo": made(
        replace(port(80, 8080), interface="lan0")
    ),
    "no interface of this host has the address 203.0.113.9": made(port(80, 8080, "203.0.113.9")),
}


def planned(instance: Instance) -> list[object]:
    metadata = KoiMetadata(enable=True, enabled_by=EnabledBy.EXPLICIT, health_path="/up")
    planner = Planner(HealthRules(Policy(host_names=frozenset({"box"}), network=HOST)))
    planner.put(replace(instance, metadata=metadata, traits=CONTAINER))
    planner.settle()
    return list(planner.planned(instance.key).records)


@pytest.mark.parametrize(("reason", "instance"), BEYOND.items(), ids=BEYOND)
def test_the_prober_gets_the_reason(reason: str, instance: Instance) -> None:
    (check,) = planned(instance)
    assert isinstance(check, HealthCheck)
    assert (check.targets, check.obstacle) == ((), reason)
