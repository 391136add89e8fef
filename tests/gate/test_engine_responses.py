"""The fields that pass the gate are those that the agent reads, and no others."""

import json
from typing import Any

import pytest

from koi_agent.backends.docker.containers import container_from_inspection, container_from_list
from koi_agent.backends.docker.events import parse_event
from koi_agent.backends.docker.kinds import Kind
from koi_agent.services.gate.engine.requests import Endpoint
from koi_agent.services.gate.engine.responses import filter_event, filter_listed, filter_response
from tests.unit.engine_records import Record, pairs, recordings

RECORDED = [
    pytest.param(*pair, id=f"{path.stem}:{pair[2]['Name'].lstrip('/')}")
    for path in recordings()
    for pair in pairs(path)
]


def filtered(endpoint: Endpoint, value: Any) -> Any:
    return json.loads(filter_response(endpoint, json.dumps(value).encode()))


def filtered_listed(record: Any) -> Any:
    return json.loads(filter_listed(record))


@pytest.mark.parametrize(("kind", "record", "inspection"), RECORDED)
def test_the_agent_reads_the_same_with_and_without_a_gate(
    kind: Kind, record: Record, inspection: Record
) -> None:
    seen = container_from_inspection(filtered(Endpoint.INSPECT, inspection), kind)
    assert seen == container_from_inspection(inspection, kind)
    element = filtered_listed(record)
    assert container_from_list(element, kind, None) == container_from_list(record, kind, None)
    assert container_from_list(element, kind, seen) == container_from_list(record, kind, seen)


SECRET = "s3cret"
LABELS = {"koi.enable": "true", "com.example.token": SECRET, "traefik.enable": "true"}
INSPECTION = {
    "Id": "a",
    "Path": SECRET,
    "Args": [SECRET],
    "State": {
        "Status": "running",
        "ExitCode": 137,
        "Error": SECRET,
        "Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": SECRET}]},
    },
    "Mounts": [{"Source": SECRET}],
    "Config": {
        "Env": [f"TOKEN={SECRET}", "KOI_MDNS_ANNOUNCE=web", f"KOI_MDNS={SECRET}"],
        "Cmd": [SECRET],
        "Entrypoint": [SECRET],
        "Labels": LABELS,
        "Healthcheck": {"Test": ["CMD", SECRET]},
    },
    "HostConfig": {"Binds": [SECRET], "NetworkMode": "bridge"},
}


def test_no_secret_passes() -> None:
    seen = filtered(Endpoint.INSPECT, INSPECTION)
    assert SECRET not in json.dumps(seen)
    assert seen["Config"]["Env"] == ["KOI_MDNS_ANNOUNCE=web"]
    assert seen["Config"]["Labels"].keys() == {"koi.enable", "traefik.enable"}
    assert seen["State"]["ExitCode"] == 137
    assert seen["State"]["Health"] == {"Status": "unhealthy", "Log": [{"ExitCode": 1}]}
    one = {"Id": "a", "Command": SECRET, "Labels": LABELS, "Mounts": [{"Source": SECRET}]}
    assert SECRET not in json.dumps(filtered_listed(one))
    version = {"Version": "1", "Components": [{"Name": "Engine", "Details": {"a": SECRET}}]}
    assert SECRET not in json.dumps(filtered(Endpoint.VERSION, version))


def test_of_an_image_only_metadata_passes() -> None:
    labels = {
        "koi.announce": "web",
        "Koi.Enable": "no",
        "traefik.enable": "0",
        "caddy": "a.lan",
        "com.docker.compose.service": SECRET,
        "PODMAN_SYSTEMD_UNIT": SECRET,
        "token": SECRET,
    }
    config = {"Labels": labels, "Env": [f"A={SECRET}", "KOI_MDNS_ANNOUNCE=x"], "Cmd": [SECRET]}
    image = {"Id": SECRET, "RepoTags": [SECRET], "Config": config, "Labels": {"koi.name": SECRET}}
    metadata = {"koi.announce": "web", "Koi.Enable": "no", "traefik.enable": "0", "caddy": "a.lan"}
    assert filtered(Endpoint.IMAGE, image) == {
        "Config": {"Labels": metadata, "Env": ["KOI_MDNS_ANNOUNCE=x"]}
    }


def test_events_are_filtered_too() -> None:
    value = {
        "Type": "container",
        "Action": "start",
        "timeNano": 5,
        "from": SECRET,
        "Actor": {"ID": "a", "Attributes": {"name": "web", "image": "i"} | LABELS},
    }
    line = filter_event(json.dumps(value).encode())
    assert SECRET not in line.decode()
    seen, whole = parse_event(line), parse_event(json.dumps(value).encode())
    assert seen
    assert whole
    assert (seen.id, seen.name, seen.time) == (whole.id, whole.name, whole.time)
    assert seen.labels == {"koi.enable": "true", "traefik.enable": "true"}
    assert filter_event(b"no json\n") == b"\n"


@pytest.mark.parametrize("value", [None, 5, []])
def test_a_value_that_is_not_an_object_becomes_null(value: Any) -> None:
    for endpoint in (Endpoint.INSPECT, Endpoint.VERSION):
        assert filtered(endpoint, value) is None
    assert filtered_listed(value) is None
    assert filter_event(json.dumps(value).encode()) == b""


def test_a_field_of_another_shape_becomes_null() -> None:
    value = {"State": 5, "Config": {"Labels": [1], "Image": {}}, "NetworkSettings": {"Ports": [1]}}
    assert filtered(Endpoint.INSPECT, value) == {
        "State": None,
        "Config": {"Labels": None, "Image": None},
        "NetworkSettings": {"Ports": None},
    }
    assert filtered_listed({"Ports": {"a": 1}, "Names": 5}) == {"Ports": None, "Names": None}
    assert filter_event(json.dumps(value).encode()) == b""


SECRET_LABELS = {
    "traefik.http.middlewares.a.basicauth.users": SECRET,
    "traefik.http.middlewares.a.headers.customrequestheaders.Authorization": SECRET,
    "caddy.tls.dns": SECRET,
    "caddy.basicauth.user": SECRET,
    "caddyfoo": SECRET,
    "com.docker.compose.project.working_dir": SECRET,
    "koi": SECRET,
}
READ = {
    "koi.name": "a",
    "traefik.http.routers.a.rule": "Host(`a`)",
    "traefik.http.services.a.loadbalancer.server.port": "80",
    "caddy_0": "a.example",
    "caddy.handle.0_reverse_proxy": "{{upstreams 80}}",
    "com.docker.compose.container-number": "1",
    "PODMAN_SYSTEMD_UNIT": "a.service",
}


def test_only_the_labels_that_the_agent_reads_pass() -> None:
    labels = READ | SECRET_LABELS
    assert filtered_listed({"Labels": labels})["Labels"] == READ
    assert filtered(Endpoint.INSPECT, {"Config": {"Labels": labels}})["Config"]["Labels"] == READ


@pytest.mark.parametrize(
    ("value", "action"),
    [
        ({"Type": "container", "Action": "start"}, "start"),
        ({"Type": "network", "Action": "connect"}, "connect"),
        ({"Type": "container", "status": "died"}, "died"),
        ({"Type": "container", "Action": "health_status: healthy"}, "health_status: healthy"),
        ({"Type": "container", "Action": "health_status: s3cret"}, "health_status"),
        ({"Type": "container", "Action": "exec_start: sh -c s3cret"}, ""),
        ({"Type": "container", "Action": "start: s3cret"}, "start"),
        ({"Type": "image", "Action": "start"}, ""),
        ({"Type": "secret", "Action": "remove"}, ""),
        ({"Action": "start"}, ""),
        ({"Type": "container", "Action": 5}, ""),
        ({"Type": ["container"], "Action": "start"}, ""),
        ([], ""),
    ],
)
def test_only_the_requested_events_pass(value: Any, action: str) -> None:
    line = filter_event(json.dumps(value).encode())
    assert (json.loads(line)["Action"] if line else "") == action


def test_of_a_service_only_its_ports_pass() -> None:
    ports = [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}]
    service = {
        "ID": "ab1",
        "Spec": {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Env": [SECRET]}}},
        "Endpoint": {"Ports": [{**ports[0], "Name": SECRET}], "VirtualIPs": [{"Addr": SECRET}]},
    }
    assert filtered(Endpoint.SERVICE, service) == {"ID": "ab1", "Endpoint": {"Ports": ports}}
