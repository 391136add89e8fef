"""Virtual machines of Incus: what its API shows of them, with and without its agent in the guest.

The records are written by hand in the form of the API. Incus runs virtual machines only with KVM
and vhost-vsock, so none of its answers for them is recorded.
"""

import json
import os
from typing import Any

import pytest

from koi_agent.backends.incus.guests import Guest, parse_guest
from koi_agent.core.instance import InstanceState
from koi_agent.services.gate.incus.responses import filter_listed
from tests.unit.test_incus_recordings import PLACE

MAC = "10:66:6a:0d:52:11"
LEASED = [
    {"family": "inet", "address": "10.79.28.9", "netmask": "24", "scope": "global"},
    {"family": "inet6", "address": "fe80::1266:6aff:fe0d:5211", "netmask": "64", "scope": "link"},
]
INSIDE = {
    "enp5s0": {
        "type": "broadcast",
        "hwaddr": MAC,
        "host_name": "tap1",
        "state": "up",
        "addresses": [
            *LEASED,
            {"family": "inet6", "address": "fd42::9", "netmask": "64", "scope": "global"},
        ],
    },
    "docker0": {
        "type": "broadcast",
        "hwaddr": "02:42:00:00:00:01",
        "state": "up",
        "addresses": [{"family": "inet", "address": "172.17.0.1", "scope": "global"}],
    },
    "lo": {
        "type": "loopback",
        "hwaddr": "",
        "state": "up",
        "addresses": [{"family": "inet", "address": "127.0.0.1", "scope": "local"}],
    },
}
"""What the agent in the guest reports: all interfaces, by their names in the guest."""


def from_leases(addresses: list[dict[str, str]]) -> dict[str, Any]:
    """Return what the server knows by itself: its devices, by their own names."""
    device = {"type": "broadcast", "hwaddr": MAC, "host_name": "tap1", "state": "up"}
    return {"eth0": {**device, "addresses": addresses}}


def machine(network: Any, status: str = "Running", **state: Any) -> Guest:
    """Parse a record of the list, as it is behind the gate."""
    record = {
        "name": "vm",
        "project": "default",
        "type": "virtual-machine",
        "status": status,
        "location": "none",
        "created_at": "2026-11-24T00:00:00Z",
        "last_used_at": "2026-11-24T01:00:00Z",
        "expanded_config": {
            "image.description": "Debian",
            "user.koi.enable": "true",
            "volatile.eth0.hwaddr": MAC,
            "volatile.vm.uuid": "not for you",
        },
        "expanded_devices": {"eth0": {"type": "nic", "network": "incusbr0"}},
        "state": {"status": status, "pid": os.getpid(), "processes": -1, "network": network}
        | state,
    }
    return parse_guest(json.loads(filter_listed(record)), PLACE)


def test_the_agent_in_the_guest_reports_the_addresses() -> None:
    vm = machine(INSIDE).instance
    assert vm.ips == ("10.79.28.9", "fd42::9"), "those of its own bridge are left out"
    assert (vm.state, vm.image, vm.metadata.enable) == (InstanceState.RUNNING, "Debian", True)


def test_without_that_agent_the_leases_show_them() -> None:
    vm = machine(from_leases(LEASED))
    assert vm.instance.ips == ("10.79.28.9",)
    assert not vm.awaits_address


@pytest.mark.parametrize("network", [None, {}, from_leases([])], ids=["none", "empty", "no lease"])
def test_an_address_is_awaited_until_there_is_a_lease(network: Any) -> None:
    vm = machine(network)
    assert vm.instance.ips == ()
    assert vm.awaits_address


def test_its_process_is_that_of_qemu_and_its_control_group_is_not_its_own() -> None:
    vm = machine(INSIDE).instance
    assert (vm.main_pid, vm.control_group) == (os.getpid(), "")


@pytest.mark.parametrize("pid", [-1, 2**40, "7", None, 1.5])
def test_a_process_that_can_not_be_one_is_not_known(pid: Any) -> None:
    assert machine(INSIDE, pid=pid).instance.main_pid == 0


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Ready", InstanceState.RUNNING),
        ("Frozen", InstanceState.PAUSED),
        ("Error", InstanceState.UNKNOWN),
    ],
)
def test_its_state_does_not_depend_on_the_agent_in_the_guest(
    status: str, state: InstanceState
) -> None:
    vm = machine(from_leases([]), status).instance
    assert (vm.state, vm.state_detail) == (state, status.lower())


def test_a_stopped_one_does_not_run() -> None:
    assert not machine(None, "Stopped", pid=0).is_here
