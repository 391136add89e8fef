"""Services and EndpointSlices as the API server sends them."""

import json
from pathlib import Path
from typing import Any

import pytest

from koi_agent.backends.kubernetes.exposures import Exposures
from koi_agent.backends.kubernetes.pods import Place, Pod, parse_pod
from koi_agent.backends.kubernetes.services import (
    Service,
    ServicePort,
    Slice,
    parse_service,
    parse_slice,
)
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Protocol
from tests.runtimes.fake_cluster import FakeCluster

RECORDINGS = Path(__file__).parents[1] / "runtimes/recordings/kubernetes"
POD = "38969e3b-90a7-45f1-9f34-cc41cec3ab03"


def recorded(name: str) -> dict[str, Any]:
    body = json.loads((RECORDINGS / f"{name}.json").read_text())["body"]
    return {one["metadata"]["name"]: one for one in body["items"]}


def test_recorded_services_have_ports_of_nodes_and_addresses() -> None:
    services = {name: parse_service(one) for name, one in recorded("services-list").items()}
    assert services["web-np"].ports == (ServicePort("http", Protocol.TCP, 80, 30236),)
    assert services["web-np"].key == "shop/web-np"
    assert services["web-np"].metadata.enable is True
    assert services["web-lb"].addresses == ("192.0.2.10",)
    assert services["web"].ports == (ServicePort("http", Protocol.TCP, 80, 0),)


def test_recorded_slice_leads_to_the_pods_that_are_ready() -> None:
    record = recorded("endpointslices")["web-xqn28"]
    assert parse_slice(record, "").key == "shop/web"
    assert len(parse_slice(record, "").ready) == 2
    assert POD not in parse_slice(record, "n9").pods
    record["endpoints"][0]["conditions"] = {"ready": False}
    assert POD not in parse_slice(record, "").ready
    assert POD in parse_slice(record, "").pods
    record["endpoints"][0]["conditions"] = {}
    assert POD in parse_slice(record, "").ready


def test_service_of_another_name_has_no_ports() -> None:
    record = recorded("services-list")["web-np"]
    record["spec"] |= {"type": "ExternalName", "externalIPs": ["192.0.2.1"]}
    assert (parse_service(record).ports, parse_service(record).addresses) == ((), ())


@pytest.mark.parametrize("value", [None, [], {}, {"metadata": []}, {"metadata": {"name": "a"}}])
def test_record_without_an_identity_is_refused(value: object) -> None:
    for parse in (parse_service, lambda record: parse_slice(record, "")):
        with pytest.raises(BadInput):
            parse(value)


def test_fields_of_another_type_are_left_out() -> None:
    record = recorded("services-list")["web-np"]
    record["spec"] = {"ports": [1, {"port": "80"}, {"port": 80, "nodePort": -1}], "externalIPs": 3}
    record["status"] = {"loadBalancer": {"ingress": [{"ip": "x"}, {"hostname": "lb.example"}]}}
    service = parse_service(record)
    assert service.ports == (ServicePort("", Protocol.TCP, 80, 0),)
    assert service.addresses == ()
    piece = recorded("endpointslices")["web-xqn28"]
    piece |= {"endpoints": [1, {"targetRef": {"kind": "Pod", "uid": "../x"}}], "ports": None}
    assert parse_slice(piece, "").pods == frozenset()


class World:
    """Exposures, and the pods that they refreshed."""

    def __init__(self) -> None:
        self.refreshed: list[set[str]] = []
        self.exposures = Exposures(lambda ids: self.refreshed.append(set(ids)), [""])
        cluster = FakeCluster()
        uid = cluster.create("web-1")
        cluster.run(uid)
        self.pod: Pod = parse_pod(cluster.pods[uid], Place(backend="kubernetes", node="n1"))
        self.cluster = cluster
        self.uid = uid

    def serve(self, pods: list[str], **options: Any) -> None:
        self.cluster.serve("shop", pods, **options)
        service = parse_service(self.cluster.objects["services"]["s-shop"])
        piece = parse_slice(self.cluster.objects["endpointslices"]["e-shop"], "n1")
        self.exposures.services[""].apply("s-shop", service)
        self.exposures.slices[""].apply("e-shop", piece)


def test_only_the_pods_that_change_are_refreshed() -> None:
    world = World()
    world.serve([world.uid, "b"], node_port=30000)
    world.refreshed.clear()
    world.serve([world.uid, "c"], node_port=30000)
    assert world.refreshed == [{"b", "c"}]
    world.refreshed.clear()
    world.serve([world.uid, "c"], node_port=30001)
    assert world.refreshed == [{world.uid, "c"}]


def test_pod_of_another_node_gets_metadata_and_no_port_of_this_one() -> None:
    world = World()
    world.serve([world.uid], node_port=30000)
    away = parse_pod(world.cluster.pods[world.uid], Place(backend="kubernetes", node="n2"))
    assert world.exposures.exposed(world.pod).ports[0].host_port == 30000
    assert world.exposures.exposed(away).ports[0].host_port == 0
    assert world.exposures.exposed(away).metadata.name == "Shop"


def test_nothing_is_left_of_what_was_removed() -> None:
    world = World()
    world.serve([world.uid], node_port=30000)
    world.exposures.slices[""].remove("e-shop", 5000)
    world.exposures.services[""].remove("s-shop", 5001)
    assert world.exposures.exposed(world.pod) == world.pod.instance
    assert not world.exposures._of_pod
    assert not world.exposures._of_service
    assert not world.exposures._by_key


@pytest.mark.parametrize(
    ("annotations", "is_in"),
    [({}, True), ({"enable": "false"}, False), ({"Enable": "off"}, False), ({"enable": ""}, False)],
)
def test_a_service_opts_its_pods_out_also_while_they_are_not_ready(
    annotations: dict[str, str],
    is_in: bool,  # noqa: FBT001
) -> None:
    world = World()
    own = {f"koi.sylin.org/{key}": text for key, text in annotations.items()}
    world.serve([world.uid], node_port=30000, annotations=own)
    assert world.exposures.exposed(world.pod).metadata.enable is is_in
    record = world.cluster.objects["endpointslices"]["e-shop"]
    record["endpoints"][0]["conditions"] = {"ready": False}
    record["metadata"]["resourceVersion"] = "5000"
    world.refreshed.clear()
    world.exposures.slices[""].apply("e-shop", parse_slice(record, "n1"))
    assert world.refreshed == [{world.uid}]
    waiting = world.exposures.exposed(world.pod)
    assert (waiting.metadata.enable, waiting.metadata.name) == (is_in, "Shop")
    assert [one.host_port for one in waiting.ports] == [0], "the Service does not lead to it"


def piece(key: str, version: int, pod: str) -> Slice:
    pods = frozenset(pod)
    return Slice(key=key, version=version, ports=(), pods=pods, ready=pods)


def test_an_event_that_is_older_than_the_list_changes_nothing() -> None:
    world = World()
    kept = world.exposures.slices[""]
    new = piece("shop/a", 7, "b")
    kept.begin_list()
    kept.apply("u", new)
    kept.apply_list({"v": piece("shop/b", 3, "c")}, 5)
    kept.end_list()
    assert set(world.exposures._of_pod) == {"b", "c"}, "the event is newer than the list"
    kept.apply("v", piece("shop/b", 4, "d"))
    assert set(world.exposures._of_pod) == {"b", "c"}
    kept.apply_list({"u": None}, 9)
    assert set(world.exposures._of_pod) == {"b"}, "what can't be read stays as it is known"


def test_service_is_a_value() -> None:
    record = recorded("services-list")["web"]
    assert isinstance(parse_service(record), Service)
    assert parse_service(record) == parse_service(record)
