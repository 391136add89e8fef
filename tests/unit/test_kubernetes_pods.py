"""Pods as the API server sends them, and the instances that they become."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.kubernetes.events import EventType, parse_event
from koi_agent.backends.kubernetes.pods import Place, Pod, kubelet_uid, parse_pod
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Health, Instance, InstanceState, PortSource, Protocol
from koi_agent.host.pod_groups import pod_groups
from tests.runtimes.fake_cluster import FakeCluster

RECORDINGS = Path(__file__).parents[1] / "runtimes/recordings/kubernetes"
PLACE = Place(backend="kubernetes", node="n1")
UID = "2828d68a-8fde-4785-8237-07cb3458b56d"


def pod(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a pod that runs, with some fields changed."""
    cluster = FakeCluster()
    uid = cluster.create("web-1")
    cluster.run(uid)
    record = cluster.pods[uid]
    record["status"] |= status or {}
    record["spec"] |= spec
    return record


def instance(record: object, place: Place = PLACE) -> Instance:
    return parse_pod(record, place).instance


def container(state: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "c", "state": state, "restartCount": 3, **fields}]}


def test_recorded_pod_becomes_an_instance() -> None:
    recorded = json.loads((RECORDINGS / "kwok-pod.json").read_text())
    parsed = parse_pod(recorded, Place(backend="kubernetes", node="f1"))
    found = parsed.instance
    assert (found.id, found.name, found.project) == (UID, "p1", "shop")
    assert (found.state, found.health, found.image) == (InstanceState.RUNNING, Health.NONE, "x")
    assert found.ips == ("10.244.0.1",)
    assert found.created_at == 1_795_900_829_000_000
    (port,) = found.ports
    assert (port.container_port, port.host_port, port.source) == (8080, 0, PortSource.DECLARED)
    assert parsed.version == 215
    assert not found.ending


def test_recorded_watch_begins_with_the_list() -> None:
    recorded = json.loads((RECORDINGS / "watch-streaming-list.json").read_text())
    events = [parse_event(json.dumps(one).encode()) for one in recorded["events"]]
    assert events[0].ends_list
    assert not any(one.ends_list for one in events[1:])
    parsed = [parse_pod(one.record, PLACE) for one in events if one.type is not EventType.BOOKMARK]
    assert all(isinstance(one, Pod) for one in parsed)


@pytest.mark.parametrize(
    ("status", "state", "health"),
    [
        ({}, InstanceState.RUNNING, Health.NONE),
        ({"phase": "Succeeded"}, InstanceState.STOPPED, Health.NONE),
        ({"phase": "Failed", "reason": "Evicted"}, InstanceState.STOPPED, Health.NONE),
        ({"phase": "Unknown"}, InstanceState.UNKNOWN, Health.UNKNOWN),
        ({"phase": "New"}, InstanceState.UNKNOWN, Health.UNKNOWN),
        ({"phase": "Pending"}, InstanceState.STOPPED, Health.NONE),
        (
            {"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]},
            InstanceState.RUNNING,
            Health.STARTING,
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [{"state": {"waiting": {}}}]},
            InstanceState.STOPPED,
            Health.NONE,
        ),
        (
            container({"waiting": {"reason": "CrashLoopBackOff"}}),
            InstanceState.RESTARTING,
            Health.UNHEALTHY,
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
            },
            InstanceState.RESTARTING,
            Health.UNHEALTHY,
        ),
        (container({"terminated": {"exitCode": 1}}), InstanceState.RESTARTING, Health.STARTING),
    ],
)
def test_state_follows_from_phase_and_containers(
    status: dict[str, Any], state: InstanceState, health: Health
) -> None:
    found = instance(pod(status))
    assert (found.state, found.health) == (state, health)


def test_pod_without_a_node_has_not_started() -> None:
    assert instance(pod(nodeName="")).state is InstanceState.STOPPED


@pytest.mark.parametrize(
    ("condition", "started", "health"),
    [
        ("True", True, Health.HEALTHY),
        ("False", True, Health.UNHEALTHY),
        ("False", False, Health.STARTING),
    ],
)
def test_health_is_the_readiness_of_a_pod_with_a_probe(
    condition: str, started: object, health: Health
) -> None:
    status = container({"running": {}}, started=started)
    ready = {"type": "Ready", "status": condition, "message": "not\x1bready"}
    found = instance(
        pod(
            {**status, "conditions": [ready]},
            containers=[{"image": "x", "readinessProbe": {"tcpSocket": {}}}],
        )
    )
    assert found.health is health
    assert found.health_detail == ("" if health is Health.HEALTHY else r"not\x1bready")


def ports(found: Instance) -> list[tuple[int, str, int, str, str]]:
    return [
        (one.container_port, one.protocol, one.host_port, one.host_ip, one.source)
        for one in found.ports
    ]


def test_ports_of_a_pod_are_its_own_or_those_of_the_host() -> None:
    listed = [
        {"containerPort": 80, "hostPort": 8080, "hostIP": "192.0.2.1"},
        {"containerPort": 53, "protocol": "UDP"},
        {"containerPort": 9, "protocol": "SCTP"},
        {"containerPort": 70000},
        {"containerPort": "80"},
    ]
    found = instance(pod(containers=[{"image": "x", "ports": listed}]))
    assert ports(found) == [
        (53, "udp", 0, "", "declared"),
        (80, "tcp", 8080, "192.0.2.1", "published"),
    ]
    assert found.notes == ("port 9 is ignored: it is neither TCP nor UDP",)


def test_port_of_another_host_is_not_one_of_this_host() -> None:
    record = pod(containers=[{"ports": [{"containerPort": 80, "hostPort": 80}]}], nodeName="n2")
    assert ports(instance(record)) == [(80, "tcp", 0, "", "declared")]


def test_pod_on_the_network_of_this_host_has_ports_and_no_address() -> None:
    record = pod(hostNetwork=True)
    assert ports(instance(record)) == [(8080, "tcp", 8080, "", "declared")]
    listed = [{"containerPort": 80, "hostPort": 80, "hostIP": "192.0.2.1"}]
    record["spec"]["containers"] = [{"image": "x", "ports": listed}]
    assert ports(instance(record)) == [(80, "tcp", 80, "", "declared")]
    assert "control group was not found" in instance(record).notes[0]
    assert instance(record).ips == ()
    assert instance(pod(hostNetwork=True, nodeName="n2")).ips == ("10.1.0.1", "fd00::1")


def test_port_in_an_annotation_is_a_port_of_the_pod() -> None:
    record = pod()
    record["metadata"]["annotations"] |= {
        "koi.sylin.org/port": "9000",
        "koi.sylin.org/name": "Web",
        "other": "x" * 100_000,
    }
    found = instance(record)
    assert found.metadata.enable is True
    assert found.metadata.name == "Web"
    assert (9000, Protocol.TCP, 0) in {
        (one.container_port, one.protocol, one.host_port) for one in found.ports
    }


def test_pod_that_is_deleted_is_ending() -> None:
    recorded = json.loads((RECORDINGS / "pod-delete.json").read_text())
    texts = json.dumps(recorded)
    assert "deletionTimestamp" in texts
    record = pod()
    record["metadata"]["deletionTimestamp"] = "2026-11-28T21:20:29Z"
    assert instance(record).ending


def test_number_of_a_stateful_pod_is_its_own() -> None:
    record = pod()
    record["metadata"]["labels"] = {"apps.kubernetes.io/pod-index": "2"}
    assert parse_pod(record, PLACE).number == 3
    record["metadata"]["labels"] = {"apps.kubernetes.io/pod-index": "²"}
    assert parse_pod(record, PLACE).number == 0


def test_replicas_have_the_name_of_their_deployment_in_common() -> None:
    record = pod()
    assert instance(record).service_name == "web-1"
    owner = {"kind": "ReplicaSet", "uid": "rs-1", "name": "web-5d9c", "controller": True}
    record["metadata"] |= {"ownerReferences": [owner], "labels": {"pod-template-hash": "5d9c"}}
    found = parse_pod(record, PLACE)
    assert (found.owner, found.instance.service_name) == ("rs-1", "web")
    owner["controller"] = False
    assert parse_pod(record, PLACE).owner == ""


def test_pods_of_the_files_of_a_node_have_no_name_in_common() -> None:
    record = pod()
    owner = {"kind": "Node", "uid": "node-1", "name": "n1", "controller": True}
    record["metadata"]["ownerReferences"] = [owner]
    found = parse_pod(record, PLACE)
    assert (found.owner, found.instance.service_name) == ("", "web-1")


@pytest.mark.parametrize("kind", ["Node", "ReplicaSet"])
@pytest.mark.parametrize("mirror", [{"kubernetes.io/config.mirror": "x"}, {}])
def test_only_the_kubelet_gives_a_pod_another_uid(kind: str, mirror: dict[str, str]) -> None:
    record = pod()
    record["metadata"]["annotations"] = {"kubernetes.io/config.hash": "static", **mirror}
    record["metadata"]["ownerReferences"] = [{"kind": kind, "name": "n1"}]
    is_static = kind == "Node" and bool(mirror)
    assert (kubelet_uid(record) == "static") is is_static


def test_control_group_follows_from_the_class_of_service() -> None:
    assert pod_groups("a-b", "besteffort") == (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_b.slice",
        "/kubepods/besteffort/poda-b",
    )
    assert pod_groups("a-b", "") == ("/kubepods.slice/kubepods-poda_b.slice", "/kubepods/poda-b")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uid", None),
        ("uid", "../x"),
        ("uid", "a" * 65),
        ("name", "Web\n"),
        ("namespace", ""),
        ("resourceVersion", "x1"),
        ("resourceVersion", 12),
    ],
)
def test_record_without_an_identity_is_refused(field: str, value: object) -> None:
    record = pod()
    record["metadata"][field] = value
    with pytest.raises(BadInput, match=f"metadata.{field}: "):
        parse_pod(record, PLACE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["ports", "state", "waiting", "reason", "name", "ip", "running", "type"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)
FIELDS = [
    *(("metadata", one) for one in ("annotations", "labels", "ownerReferences")),
    *(("metadata", one) for one in ("creationTimestamp", "deletionTimestamp")),
    *(("spec", one) for one in ("containers", "initContainers", "hostNetwork", "nodeName")),
    *(("status", one) for one in ("phase", "podIPs", "podIP", "conditions", "qosClass")),
    *(("status", one) for one in ("containerStatuses", "initContainerStatuses", "reason")),
]


@given(st.lists(st.tuples(st.sampled_from(FIELDS), JSON), max_size=4))
def test_field_of_another_type_costs_that_field(
    changes: list[tuple[tuple[str, str], object]],
) -> None:
    record = pod()
    for (section, field), value in changes:
        record[section][field] = value
    assert instance(record).name == "web-1"


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b'{"type":"NEW","object":{}}', b'{"type":"ADDED"}', b"[" * 9999]
)
def test_line_that_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(BadInput):
        parse_event(line)
