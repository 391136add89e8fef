"""Containers of real engines: their lists and inspections, recorded at one moment."""

from typing import Any

import pytest

from koi_agent.backends.docker.containers import container_from_inspection, container_from_list
from koi_agent.backends.docker.instances import instance_of
from koi_agent.backends.docker.kinds import PODMAN, Kind
from koi_agent.core.instance import Health, Instance, InstanceState, Protocol
from tests.unit.engine_records import (
    Record,
    assert_equal_except,
    pairs,
    port,
    recordings,
)

RECORDED = recordings()


def recorded_pairs() -> list[Any]:
    return [
        pytest.param(*pair, id=f"{path.stem}:{pair[2]['Name'].lstrip('/')}")
        for path in RECORDED
        for pair in pairs(path)
    ]


@pytest.mark.parametrize(("kind", "record", "inspection"), recorded_pairs())
def test_a_list_agrees_with_the_inspections(kind: Kind, record: Record, inspection: Record) -> None:
    """A list lacks the environment and why checks fail. Podman's also lacks network and health."""
    first, full = (
        container_from_list(record, kind, None),
        container_from_inspection(inspection, kind),
    )
    unknown = {"inspected", "health_detail"}
    if full.network:
        unknown.add("exposed")
    if kind is PODMAN:
        unknown |= {"network", "health", "exposed", "unsupported_ports", "ports"}
    if any(one.startswith("KOI_MDNS") for one in inspection["Config"]["Env"] or ()):
        unknown.add("labels")
    assert_equal_except(first, full, *unknown)


@pytest.mark.parametrize(("kind", "record", "inspection"), recorded_pairs())
def test_a_list_changes_nothing_in_an_inspection(
    kind: Kind, record: Record, inspection: Record
) -> None:
    full = container_from_inspection(inspection, kind)
    assert container_from_list(record, kind, full) == full


def test_each_recording_has_containers() -> None:
    assert any(path.name.startswith("docker-20.10") for path in RECORDED)
    for path in RECORDED:
        assert [*pairs(path)]


def recorded(name: str, engine: str = "docker-20.10") -> Instance:
    for path in RECORDED:
        for kind, _, inspection in pairs(path):
            if path.stem == f"{engine}-all" and inspection["Name"].lstrip("/") == name:
                return instance_of(container_from_inspection(inspection, kind), kind.name)
    raise AssertionError(f"no recording of {name}")


def test_replicas_have_their_services_name_and_a_number() -> None:
    one, two = recorded("shop-web-1"), recorded("shop-web-2")
    assert (one.name, one.project, one.replica) == ("web", "shop", 1)
    assert (two.name, two.project, two.replica) == ("web", "shop", 2)
    assert (one.metadata.enable, one.metadata.port) == (True, 8080)


def test_published_ports_are_one_for_both_families() -> None:
    published = recorded("published")
    assert published.ports == (
        port(53, 15353, "::", Protocol.UDP),
        port(80, 18080, "::"),
        port(80, 18081, "::"),
        port(443, 18443, "127.0.0.1"),
        port(9000),
    )
    assert published.notes == ("port 5000/sctp is ignored: it is neither TCP nor UDP",)


def test_states_and_health_are_read() -> None:
    paused, restarting = recorded("paused"), recorded("restarting")
    assert (paused.state, paused.state_detail) == (InstanceState.PAUSED, "paused")
    assert restarting.state is InstanceState.RESTARTING
    assert recorded("healthy").health is Health.HEALTHY
    assert recorded("starting").health is Health.STARTING
    unhealthy = recorded("unhealthy")
    assert (unhealthy.health, unhealthy.health_detail) == (
        Health.UNHEALTHY,
        "the last check exited with 3",
    )


def test_addresses_are_sorted_by_the_names_of_their_networks() -> None:
    addresses = recorded("two-networks").ips
    assert addresses[:2] == ("172.31.7.2", "fd00:6b6f:69::2")  # of back, and then of front
    assert len(addresses) > 2
    assert recorded("host-network").ips == recorded("no-network").ips == ()


def test_one_variable_of_the_environment_is_read() -> None:
    assert recorded("two-networks").metadata.name == "http"


def test_podmans_ranges_and_pods_have_their_ports() -> None:
    assert recorded("range", "podman-5.4").ports == tuple(
        port(9000 + n, 19000 + n) for n in range(3)
    )
    assert recorded("inpod", "podman-5.4").ports == (port(80, 18090),)


def test_exposed_ports_of_podman_4_are_read() -> None:
    published = (port(53, 15353, protocol=Protocol.UDP), port(80, 18080, "::"))
    local = port(443, 18443, "127.0.0.1")
    assert recorded("web", "podman-4.3").ports == (*published, local, port(9000))
    assert recorded("side", "podman-4.3").ports == (*published, local)
