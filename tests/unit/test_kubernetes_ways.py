"""The ways by which a Service leads to its pods: from this host, and from its networks."""

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from koi_agent.backends.kubernetes.exposures import Exposures
from koi_agent.backends.kubernetes.pods import Place, parse_pod
from koi_agent.backends.kubernetes.services import parse_service, parse_slice
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.health.checks import Defaults, check_of
from koi_agent.capabilities.mdns.records import HostName, Service
from koi_agent.cli.explain import lines
from koi_agent.core.instance import Instance, PortSource
from koi_agent.core.plan.requests import Policy
from koi_agent.core.reach.local import targets
from koi_agent.core.reach.model import places, reachability
from koi_agent.core.schema.explanation import explanation_of
from tests.runtimes.fake_cluster import FakeCluster
from tests.unit.networks import HOST, link
from tests.unit.test_dns_plan import planned as planned_names
from tests.unit.test_mdns_plan import plan

HERE, AWAY = Place(backend="kubernetes", node="n1"), Place(backend="kubernetes", node="n2")
CLUSTER_IP = "10.96.0.7"
PORT = {"name": "http", "port": 80, "targetPort": "web"}
POLICY = Policy(host_names=frozenset({"box"}), network=HOST)


class World:
    """A cluster with one workload, and what is known of its pods."""

    def __init__(self, pods: int = 1) -> None:
        self.cluster = FakeCluster()
        self.uids = [self.cluster.create(owner="of-web") for _ in range(pods)]
        for uid in self.uids:
            self.cluster.run(uid)
        self.exposures = Exposures(lambda _ids: None, [""])
        self.versions = count(9000)

    def serve(self, *ports: dict[str, Any], **spec: Any) -> None:
        """Create a Service with a ClusterIP and a slice that leads to all pods."""
        spec = {"clusterIP": CLUSTER_IP, "clusterIPs": [CLUSTER_IP], **spec}
        status = spec.pop("status", {})
        self.cluster.serve("shop", self.uids, **{**spec, "ports": list(ports or [PORT])})
        service = self.cluster.objects["services"]["s-shop"]
        service["status"] = status
        self.exposures.services[""].apply("s-shop", parse_service(service))
        self.slice(0, {})

    def slice(self, number: int, changes: dict[str, Any], *, ready: object = True) -> None:
        """Apply a slice of the Service; the first one leads to the port 8080 of all pods."""
        record = {**self.cluster.objects["endpointslices"]["e-shop"], **changes}
        for endpoint in record["endpoints"]:
            endpoint["conditions"] = {} if ready is None else {"ready": ready}
        metadata = {**record["metadata"], "resourceVersion": str(next(self.versions))}
        parsed = parse_slice({**record, "metadata": metadata}, "")
        self.exposures.slices[""].apply(f"e-{number}", parsed)

    def instances(self, place: Place = HERE) -> list[Instance]:
        pods = [parse_pod(self.cluster.pods[uid], place) for uid in self.uids]
        exposed = [self.exposures.exposed(pod) for pod in pods]
        return [replace(one, replica=number) for number, one in enumerate(exposed, 1)]

    def instance(self, place: Place = HERE) -> Instance:
        return self.instances(place)[0]


def ways(instance: Instance) -> set[str]:
    return {
        f"{one.host_ip}:{one.host_port}->{one.container_port}/{one.protocol} {one.source}"
        for one in instance.ports
        if one.host_port
    }


def reached(instance: Instance) -> list[str]:
    reach = reachability(instance, HOST)
    return [
        f"{place.interface} {place.address}:{place.port}"
        for one in (*reach.endpoints, *reach.others)
        for place in places(one, HOST)
    ]


def test_a_cluster_address_is_for_this_host() -> None:
    world = World()
    world.serve()
    instance = world.instance()
    assert ways(instance) == {"10.96.0.7:80->8080/tcp cluster"}
    (mapping,) = [one for one in instance.ports if one.source is PortSource.CLUSTER]
    assert [one.text for one in targets(instance, mapping, HOST)] == ["10.96.0.7:80"]
    assert reached(instance) == []
    (unreachable,) = reachability(instance, HOST).unreachable
    assert unreachable.reason == (
        "the cluster address 10.96.0.7, port 80, is for this host and its cluster"
    )
    assert not unreachable.is_held, "it does not change by itself"


def test_a_cluster_address_of_another_node_is_unknown() -> None:
    world = World()
    world.serve()
    assert ways(world.instance(AWAY)) == set()


def test_both_families_have_a_cluster_address() -> None:
    world = World()
    world.serve(clusterIPs=[CLUSTER_IP, "fd00:1::7"])
    assert ways(world.instance()) == {
        "10.96.0.7:80->8080/tcp cluster",
        "fd00:1::7:80->8080/tcp cluster",
    }


def test_a_port_of_the_node_is_reached_at_each_address_of_this_host() -> None:
    world = World()
    world.serve({**PORT, "nodePort": 30080})
    assert ":30080->8080/tcp published" in ways(world.instance())
    assert reached(world.instance()) == [
        "lan0 192.0.2.10:30080",
        "lan0 2001:db8::10:30080",
        "lan1 198.51.100.10:30080",
        "usb0 169.254.7.1:30080",
        "wg0 10.9.0.1:30080",
    ]


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        (["IPv4"], ["lan0 192.0.2.10:30080"]),
        (["IPv6"], ["lan0 2001:db8::10:30080"]),
        (["IPv6", "IPv4"], ["lan0 192.0.2.10:30080", "lan0 2001:db8::10:30080"]),
    ],
)
def test_a_port_of_the_node_has_the_families_of_its_service(
    families: list[str], expected: list[str]
) -> None:
    world = World()
    world.serve({**PORT, "nodePort": 30080}, ipFamilies=families)
    assert [one for one in reached(world.instance()) if "lan0" in one] == expected


def test_an_external_address_on_a_network_of_this_host_is_reached_there() -> None:
    world = World()
    world.serve(externalIPs=["192.0.2.77"])
    assert "192.0.2.77:80->8080/tcp external" in ways(world.instance())
    assert reached(world.instance()) == ["lan0 192.0.2.77:80"]
    (endpoint,) = reachability(world.instance(), HOST).endpoints
    assert endpoint.limit == "at the external address 192.0.2.77"


def test_an_external_address_of_this_host_is_one_of_its_own() -> None:
    world = World()
    world.serve(externalIPs=["198.51.100.10"])
    assert reached(world.instance()) == ["lan1 198.51.100.10:80"]


def test_addresses_of_a_load_balancer_are_one_way() -> None:
    world = World()
    ingress = [{"ip": "192.0.2.77"}, {"ip": "192.0.2.10"}, {"hostname": "lb.example"}]
    world.serve(status={"loadBalancer": {"ingress": ingress}})
    (endpoint,) = reachability(world.instance(), HOST).endpoints
    assert endpoint.addresses == ("192.0.2.10", "192.0.2.77")
    assert (endpoint.port, endpoint.inside) == (80, 8080)


def test_an_external_address_beyond_the_networks_is_only_in_dns() -> None:
    world = World()
    world.serve(externalIPs=["203.0.114.5"])
    assert reached(world.instance()) == []
    planner = planned_names(world.instance(), policy=POLICY)
    (name,) = planner.planned(world.instance().key).records
    assert isinstance(name, Name)
    assert name.addresses == ("203.0.114.5",)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.1.1", "172.17.0.9", "224.0.0.1"])
def test_an_external_address_without_a_meaning_for_others_is_refused(address: str) -> None:
    world = World()
    world.serve(externalIPs=[address])
    assert reached(world.instance()) == []
    assert reachability(world.instance(), HOST).unreachable


def test_a_headless_service_leads_to_its_pods_only() -> None:
    world = World()
    world.serve(clusterIP="None", clusterIPs=["None"], externalIPs=["192.0.2.77"])
    instance = world.instance()
    assert ways(instance) == set()
    assert instance.metadata.name == "Shop", "its annotations count"


def test_pods_with_other_numbers_of_a_named_port_have_their_own() -> None:
    world = World(2)
    world.serve({**PORT, "nodePort": 30080})
    first, second = world.cluster.objects["endpointslices"]["e-shop"]["endpoints"]
    ports = [{"name": "http", "port": 9090, "protocol": "TCP"}]
    world.slice(0, {"endpoints": [first]})
    world.slice(1, {"endpoints": [second], "ports": ports})
    one, two = world.instances()
    assert ":30080->8080/tcp published" in ways(one)
    assert ":30080->9090/tcp published" in ways(two)
    assert ":30080->8080/tcp published" not in ways(two)


def test_each_port_of_a_service_leads_to_its_own() -> None:
    world = World()
    dns = {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}
    world.serve({**PORT, "nodePort": 30080}, dns, {"name": "x", "port": 9, "protocol": "SCTP"})
    ports = [
        {"name": "http", "port": 8080, "protocol": "TCP"},
        {"name": "dns", "port": 5353, "protocol": "UDP"},
        {"name": "x", "port": 9, "protocol": "SCTP"},
    ]
    world.slice(0, {"ports": ports})
    assert ways(world.instance()) == {
        ":30080->8080/tcp published",
        ":30053->5353/udp published",
        "10.96.0.7:80->8080/tcp cluster",
        "10.96.0.7:53->5353/udp cluster",
    }


@pytest.mark.parametrize(("ready", "is_used"), [(True, True), (None, True), (False, False)])
def test_only_endpoints_that_are_ready_are_used(ready: object, is_used: bool) -> None:  # noqa: FBT001
    """The cluster calls all endpoints of a Service ready that has publishNotReadyAddresses."""
    world = World()
    world.serve({**PORT, "nodePort": 30080})
    world.slice(1, {}, ready=ready)
    world.slice(0, {}, ready=ready)
    assert bool(ways(world.instance())) is is_used


def test_pods_behind_one_port_of_the_node_are_one_announcement() -> None:
    world = World(3)
    world.serve({**PORT, "nodePort": 30080})
    planned = plan(world.instances(), POLICY).records.values()
    records = [record for of_one in planned for record in of_one]
    services = [one for one in records if isinstance(one, Service)]
    assert [(one.name, one.port) for one in services] == [("Shop", 30080)]
    hosts = {one.name for one in records if isinstance(one, HostName)}
    assert hosts == {"shop"}


def test_pods_of_several_owners_behind_one_port_are_one_announcement() -> None:
    world = World(2)
    world.serve({**PORT, "nodePort": 30080})
    stable, canary = world.instances()
    for other in (replace(canary, workload="canary", replica=1), replace(canary, workload="")):
        planned = plan([stable, other], POLICY).records.values()
        services = [one for of_one in planned for one in of_one if isinstance(one, Service)]
        assert [(one.name, one.port) for one in services] == [("Shop", 30080)]
    away = replace(canary, project="other")
    planned = plan([stable, away], POLICY).records.values()
    services = [one for of_one in planned for one in of_one if isinstance(one, Service)]
    assert len(services) == 2, "a pod of another namespace has no part in it"


def test_pods_of_another_node_are_reached_at_its_addresses() -> None:
    world = World()
    world.serve({**PORT, "nodePort": 30080}, ipFamilies=["IPv4"], externalTrafficPolicy="Local")
    status = world.cluster.pods[world.uids[0]]["status"]
    status["hostIPs"] = [{"ip": "192.0.2.22"}, {"ip": "2001:db8::22"}]
    assert reached(world.instance(AWAY)) == ["lan0 192.0.2.22:30080"]
    assert "0.0.0.0:30080->8080/tcp published" in ways(world.instance())


def test_a_check_asks_the_pod_itself() -> None:
    """A port of the node leads to any pod that is ready, and none that is not."""
    world = World()
    world.serve({**PORT, "nodePort": 30080}, annotations={"koi.sylin.org/health-path": "/"})
    instance = world.instance()
    routed = HOST.__class__((*HOST.links, link("cni0", "10.1.0.254/24", bridge=True)))
    for network in (HOST, routed):
        check = check_of(instance, Defaults(), network)
        assert check
        assert [one.text for one in check.targets] == ["10.1.0.1:8080", "[fd00::1]:8080"]


def test_a_service_in_the_cluster_only_causes_no_check() -> None:
    world = World()
    world.serve()
    assert check_of(world.instance(), Defaults(), HOST) is None


def test_ways_are_explained() -> None:
    world = World()
    world.serve({**PORT, "nodePort": 30080}, externalIPs=["192.0.2.77"], ipFamilies=["IPv4"])
    text = "\n".join(lines(explanation_of(world.instance(), (), HOST)))
    for line in (
        "port 10.96.0.7:80 -> 8080/tcp, cluster: ",
        "port 0.0.0.0:30080 -> 8080/tcp, published: ",
        "port 192.0.2.77:80 -> 8080/tcp, external: ",
        "reachable, port 8080/tcp: lan0 192.0.2.10:30080, lan1 ",
        "reachable, port 8080/tcp: lan0 192.0.2.77:80 (external); not on lan1 (at the external ",
    ):
        assert line in text
