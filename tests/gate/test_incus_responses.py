"""The fields that pass the gate of Incus are those that the agent reads, and no others."""

import json
from typing import Any

import pytest

from koi_agent.backends.incus.events import parse_event
from koi_agent.backends.incus.guests import parse_guest
from koi_agent.services.gate.incus.requests import Endpoint
from koi_agent.services.gate.incus.responses import filter_event, filter_listed, filter_response
from tests.runtimes.fake_guests import FakeGuest
from tests.unit.test_incus_recordings import BOTH, PLACE, recorded

SECRET = "s3cret"
CONFIG = {
    "user.koi.name": "Web",
    "user.koi": SECRET,
    "user.token": SECRET,
    "user.user-data": SECRET,
    "user.koikoi.x": SECRET,
    "cloud-init.user-data": SECRET,
    "cloud-init.network-config": SECRET,
    "environment.TOKEN": SECRET,
    "environment.KOI_MDNS_ANNOUNCE": "web",
    "raw.lxc": SECRET,
    "oci.entrypoint": SECRET,
    "volatile.eth0.hwaddr": "10:66:6a:64:22:06",
    "volatile.eth0.last_state.hwaddr": SECRET,
    "volatile.uuid": SECRET,
    "image.description": "busybox",
    "image.serial": SECRET,
}
DEVICES = {
    "disk": {"type": "disk", "source": SECRET, "path": SECRET, "ceph.user_name": SECRET},
    "nic": {"type": "nic", "hwaddr": "10:66:6a:64:22:06", "listen": SECRET, "acls": SECRET},
    "proxy": {
        "type": "proxy",
        "listen": "tcp:0.0.0.0:80",
        "connect": "tcp:127.0.0.1:80",
        "bind": "host",
        "uid": SECRET,
    },
}


def filtered(endpoint: Endpoint, metadata: Any) -> Any:
    body = {"type": "sync", "metadata": metadata, "operation": SECRET}
    return json.loads(filter_response(endpoint, json.dumps(body).encode()))["metadata"]


@BOTH
@pytest.mark.parametrize("name", ["instances-two-projects", "instances-with-proxy", "frozen"])
def test_the_agent_reads_the_same_with_and_without_a_gate(server: str, name: str) -> None:
    metadata = recorded(server, name)["body"]["metadata"]
    records = metadata if isinstance(metadata, list) else [metadata]
    for record in records:
        passed = filtered(Endpoint.INSTANCE, record)
        assert parse_guest(passed, PLACE) == parse_guest(record, PLACE)
        assert json.loads(filter_listed(record)) == passed


@BOTH
def test_the_agent_reads_the_same_events_with_and_without_a_gate(server: str) -> None:
    for event in recorded(server, "events-lifecycle"):
        message = json.dumps(event).encode()
        line = filter_event(message)
        assert (parse_event(line) if line else None) == parse_event(message)
        assert b"requestor" not in line
        assert b"command" not in line


def test_no_secret_of_an_instance_passes() -> None:
    record = FakeGuest("web", config=CONFIG, devices=DEVICES, addresses=("10.0.0.1",)).record()
    record |= {"config": CONFIG, "devices": DEVICES, "snapshots": [SECRET], "description": SECRET}
    record["state"] |= {"os_info": SECRET, "disk": {"root": SECRET}}
    record["state"]["network"]["eth0"] |= {"host_name": SECRET, "counters": SECRET}
    passed = filtered(Endpoint.INSTANCE, record)
    assert SECRET not in json.dumps(passed)
    assert "not for you" not in json.dumps(passed)
    assert parse_guest(passed, PLACE) == parse_guest(record, PLACE)
    assert passed["expanded_config"]["environment.KOI_MDNS_ANNOUNCE"] == "web"


def test_only_the_kind_of_the_server_passes() -> None:
    environment = {"server": "incus", "server_version": "6.0.4", "certificate": SECRET}
    passed = filtered(Endpoint.SERVER, {"environment": environment, "config": {"core": SECRET}})
    assert passed == {"environment": {"server": "incus", "server_version": "6.0.4"}}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "logging", "metadata": {"message": SECRET}},
        {"type": "operation", "metadata": {"action": "instance-started"}},
        {"type": "lifecycle", "metadata": {"action": "instance-exec", "source": SECRET}},
        {"type": "lifecycle", "metadata": {"action": ["instance-started"]}},
        {"type": "lifecycle", "metadata": SECRET},
        {"type": ["lifecycle"], "metadata": {}},
        [SECRET],
        SECRET,
        None,
    ],
)
def test_other_events_do_not_pass(event: Any) -> None:
    assert filter_event(json.dumps(event).encode()) == b""


@pytest.mark.parametrize("message", [b"", b"{", b"\xff", b'{"a":' * 5000])
def test_a_message_that_is_not_json_becomes_an_empty_line(message: bytes) -> None:
    assert filter_event(message) == b"\n"


@pytest.mark.parametrize("metadata", [None, [], 5, {"state": []}, {"expanded_config": [SECRET]}])
def test_another_shape_passes_nothing(metadata: Any) -> None:
    for endpoint in (Endpoint.SERVER, Endpoint.INSTANCE):
        assert SECRET not in json.dumps(filtered(endpoint, metadata))


def test_only_the_ports_of_networks_pass() -> None:
    network = {"name": "n", "project": "p", "managed": True, "type": "ovn", "config": SECRET}
    port = {"listen_port": "80", "protocol": "tcp", "target_port": "1", "description": SECRET}
    forward = {
        "listen_address": "192.0.2.1",
        "config": {"target_address": "10.0.0.2", "user.x": SECRET},
        "ports": [port | {"target_address": "10.0.0.2"}],
        "description": SECRET,
    }
    balancer = {
        "listen_address": "192.0.2.1",
        "ports": [port | {"target_backend": ["a", {"b": SECRET}]}],
        "backends": [{"name": "a", "target_address": "10.0.0.2", "description": SECRET}],
    }
    for endpoint, record in (
        (Endpoint.NETWORKS, network),
        (Endpoint.FORWARDS, forward),
        (Endpoint.BALANCERS, balancer),
    ):
        passed = filtered(endpoint, [record])
        assert SECRET not in json.dumps(passed)
        assert passed[0].keys() <= record.keys()
