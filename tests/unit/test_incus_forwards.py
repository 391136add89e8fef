"""The ports that networks forward to instances."""

from typing import Any

import pytest

from koi_agent.backends.incus.events import NETWORK_CHANGED, parse_event
from koi_agent.backends.incus.forwards import ForwardsBuilder
from koi_agent.backends.incus.guests import MORE_PORTS, Place, parse_guest
from koi_agent.backends.incus.proxies import MAX_PORTS
from koi_agent.core.instance import PortSource
from tests.runtimes.fake_guests import FakeGuest

LISTEN, TARGET = "192.0.2.1", "10.0.0.2"
FORWARD = {
    "listen_address": LISTEN,
    "config": {},
    "ports": [
        {
            "listen_port": "80-81,90",
            "protocol": "tcp",
            "target_address": TARGET,
            "target_port": "8080",
        },
        {"listen_port": "53", "protocol": "udp", "target_address": TARGET},
        {"listen_port": "22", "protocol": "tcp", "target_address": "10.0.0.3"},
    ],
}
BALANCER = {
    "listen_address": LISTEN,
    "ports": [{"listen_port": "443", "protocol": "tcp", "target_backend": ["a", "b", "c"]}],
    "backends": [
        {"name": "a", "target_address": TARGET, "target_port": "8443"},
        {"name": "b", "target_address": "10.0.0.3", "target_port": ""},
    ],
}


def ports(builder: ForwardsBuilder, **config: str) -> set[tuple[str, str, int, int]]:
    """Return the published ports of an instance with these forwards."""
    record = FakeGuest("web", addresses=(TARGET,), config=config).record()
    place = Place(backend="incus", member="", forwards=builder.built())
    return {
        (str(one.protocol), one.host_ip, one.host_port, one.container_port)
        for one in parse_guest(record, place).instance.ports
        if one.source is PortSource.PUBLISHED
    }


def test_a_forward_publishes_the_ports_that_lead_to_an_instance() -> None:
    builder = ForwardsBuilder()
    builder.add_forward(FORWARD)
    assert ports(builder) == {
        ("tcp", LISTEN, 80, 8080),
        ("tcp", LISTEN, 81, 8080),
        ("tcp", LISTEN, 90, 8080),
        ("udp", LISTEN, 53, 53),
    }


def test_an_address_that_is_forwarded_as_a_whole_publishes_what_metadata_names() -> None:
    builder = ForwardsBuilder()
    builder.add_forward({"listen_address": LISTEN, "config": {"target_address": TARGET}})
    assert ports(builder) == set()
    assert ports(builder, **{"user.koi.port": "8080"}) == {("tcp", LISTEN, 8080, 8080)}


def test_a_load_balancer_publishes_the_ports_of_its_backends() -> None:
    builder = ForwardsBuilder()
    builder.add_load_balancer(BALANCER)
    assert ports(builder) == {("tcp", LISTEN, 443, 8443)}


RANGES = [f"{first}-{first + 999}" for first in range(1, 64000, 1000)]


@pytest.mark.parametrize("forwards", [1, 3])
@pytest.mark.parametrize("devices", [0, 2])
def test_of_very_many_ports_some_are_kept(forwards: int, devices: int) -> None:
    builder = ForwardsBuilder()
    rows = [{"protocol": "tcp", "listen_port": one, "target_address": TARGET} for one in RANGES]
    for number in range(forwards):
        builder.add_forward({"listen_address": f"192.0.2.{number}", "ports": rows})
    assert sum(map(len, builder.built().ports.values())) == MAX_PORTS + 1
    proxies = {
        f"p{number}": {"type": "proxy", "listen": f"tcp:192.0.2.9:{RANGES[number]}"}
        for number in range(devices)
    }
    guest = FakeGuest("web", addresses=(TARGET,), devices=proxies)
    place = Place(backend="incus", member="", forwards=builder.built())
    web = parse_guest(guest.record(), place).instance
    assert len(web.ports) == MAX_PORTS
    assert web.notes == (MORE_PORTS,)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"listen_address": "nowhere"},
        {"listen_address": LISTEN, "config": [], "ports": [{}, 5, {"protocol": "sctp"}]},
        {"listen_address": LISTEN, "ports": [{"listen_port": "x", "protocol": "tcp"}]},
        {"listen_address": LISTEN, "ports": {}, "backends": {}},
        {
            "listen_address": LISTEN,
            "ports": [{"listen_port": "1", "protocol": "tcp", "target_backend": ["a"]}],
            "backends": [{"name": "a", "target_address": 5}, {"name": []}],
        },
    ],
)
def test_invalid_parts_are_skipped(record: dict[str, Any]) -> None:
    builder = ForwardsBuilder()
    builder.add_forward(record)
    builder.add_load_balancer(record)
    builder.add_forward(FORWARD)
    assert len(ports(builder)) == 4


@pytest.mark.parametrize("action", ["network-forward-updated", "network-load-balancer-deleted"])
def test_an_event_of_a_forward_is_no_event_of_an_instance(action: str) -> None:
    event = b'{"type": "lifecycle", "metadata": {"action": "%b"}}' % action.encode()
    assert parse_event(event) is NETWORK_CHANGED
