"""Ports that several pods share: a check, a route and a target lead to one pod only."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from koi_agent.backends.kubernetes.exposures import MAX_WAYS
from koi_agent.backends.kubernetes.services import parse_service
from koi_agent.capabilities.health.checks import Defaults, check_of
from koi_agent.capabilities.proxy.upstreams import upstream_of
from koi_agent.core.instance import Instance, PortMapping, PortSource, Protocol
from koi_agent.core.metadata.service_types import http_port
from koi_agent.core.ports import serving_binds
from koi_agent.core.traits import LOCAL_POD
from koi_agent.publishers.http import prometheus_sd
from koi_agent.publishers.http.response import Request
from tests.unit.networks import HOST
from tests.unit.test_kubernetes_ways import AWAY, PORT, World, ways
from tests.unit.things import container

SERVICES: Sequence[dict[str, Any]] = [
    {},
    {"type": "NodePort"},
    {"type": "LoadBalancer", "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.240"}]}}},
]


def port(outside: int, source: PortSource, address: str = "", inside: int = 80) -> PortMapping:
    return PortMapping(
        container_port=inside,
        protocol=Protocol.TCP,
        host_port=outside,
        host_ip=address,
        source=source,
    )


LISTENING = port(80, PortSource.LISTENING, "::")
SHARED = [
    port(30080, PortSource.PUBLISHED),
    port(80, PortSource.EXTERNAL, "192.0.2.240"),
    port(80, PortSource.CLUSTER, "10.96.0.7"),
]


def on_host(*ports: PortMapping) -> Instance:
    """Return a pod on the host's network that opts in."""
    made = container("shop")
    metadata = replace(made.metadata, enable=True)
    return replace(made, ports=tuple(sorted(ports)), metadata=metadata, traits=LOCAL_POD)


@pytest.mark.parametrize("shared", SHARED)
def test_a_pod_on_the_host_network_is_asked_where_it_listens(shared: PortMapping) -> None:
    pod = on_host(LISTENING, shared)
    assert serving_binds(pod) == (LISTENING,)
    check = check_of(pod, Defaults(), HOST)
    assert check
    assert check.target == "127.0.0.1:80"
    assert upstream_of(pod, HOST).target.text == "127.0.0.1:80"
    assert serving_binds(on_host(shared)) == (), "it listens on nothing"


@pytest.mark.parametrize("spec", SERVICES)
def test_a_target_of_prometheus_is_the_pod_itself(spec: dict[str, Any]) -> None:
    world = World()
    world.serve(PORT, **spec)
    instance = world.instance()
    opted_in = replace(instance, metadata=replace(instance.metadata, enable=True))
    request = Request(query={}, accept="", last_event_id="", host="127.0.0.1", local=True)
    (group,) = prometheus_sd.groups([opted_in], request, HOST)
    assert group["targets"] == [f"{instance.ips[0]}:8080"]


@pytest.mark.parametrize("spec", SERVICES)
def test_a_pod_of_another_node_is_not_checked_by_default(spec: dict[str, Any]) -> None:
    world = World()
    world.serve(PORT, **spec)
    instance = world.instance(AWAY)
    metadata = replace(instance.metadata, enable=True, proxy_remote=True)
    assert check_of(replace(instance, metadata=metadata), Defaults(), HOST) is None
    target = upstream_of(replace(instance, metadata=metadata), HOST).target
    assert target.text == f"{instance.ips[0]}:8080"


def test_the_port_of_http_is_the_one_that_is_checked() -> None:
    pod = on_host(port(30080, PortSource.PUBLISHED, inside=8181), port(60, SHARED[2].source, "::1"))
    pod = replace(pod, ips=("10.42.0.7",), metadata=replace(pod.metadata, health_path="/"))
    assert http_port(pod) == 8181
    assert serving_binds(pod)[0].container_port == 8181


def test_a_slice_of_another_namespace_leads_to_no_pod() -> None:
    world = World()
    before = world.instance()
    world.serve(PORT, type="NodePort")
    assert ways(world.instance())
    namespace = {"namespace": "strangers"}
    service = world.cluster.objects["services"]["s-shop"]
    annotations = {"koi.sylin.org/announce": "bank"}
    metadata = {**service["metadata"], **namespace, "annotations": annotations}
    theirs = parse_service({**service, "metadata": metadata})
    world.exposures.services[""].apply("s-theirs", theirs)
    metadata = world.cluster.objects["endpointslices"]["e-shop"]["metadata"]
    world.slice(0, {"metadata": {**metadata, **namespace}})
    assert world.instance() == before


def test_services_with_very_many_ports_do_not_count() -> None:
    world = World()
    addresses = [f"198.51.100.{number}" for number in range(200)]
    ports = [{"name": f"p{number}", "port": number, "targetPort": 80} for number in range(1, 11)]
    world.serve(*ports, externalIPs=addresses)
    inside = [{"name": one["name"], "port": 8080, "protocol": "TCP"} for one in ports]
    world.slice(0, {"ports": inside})
    instance = world.instance()
    assert len(instance.ports) <= MAX_WAYS
    assert any("ports: none of them counts" in note for note in instance.notes)
    for number in range(1, 9):  # the same ports again, which are not more of them
        world.slice(number, {"ports": inside[:1]})
    world.slice(0, {"ports": inside[:1]})
    assert any("ports: none of them counts" in note for note in world.instance().notes)
