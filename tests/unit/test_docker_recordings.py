"""Containers as real engines told of them: by lists and by inspections, at one moment."""

from typing import Any

import pytest

from koi_agent.backends.docker.containers import container_from_inspection, container_from_list
from koi_agent.backends.docker.instances import instance_of
from koi_agent.backends.docker.kinds import PODMAN, Kind
from koi_agent.core.instance import Health, Instance, InstanceState, Protocol
from tests.unit.engine_records import (
    Record,
    alike,
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
def test_a_list_says_what_an_inspection_says(
    kind: Kind, record: Record, inspection: Record
) -> None:
    """What a list can't know: the environment, why checks fail, what is exposed to no network
    of its own, and of Podman's the network and the health."""
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
    alike(first, full, *unknown)


@pytest.mark.parametrize(("kind", "record", "inspection"), recorded_pairs())
def test_a_list_changes_nothing_that_an_inspection_said(
    kind: Kind, record: Record, inspection: Record
) -> None:
    full = container_from_inspection(inspection, kind)
    assert container_from_list(record, kind, full) == full


def test_each_recording_holds_containers_that_were_read() -> None:
    assert any(path.name.startswith("docker-20.10") for path in RECORDED)
    for path in RECORDED:
        assert [*pairs(path)]


def recorded(name: str, engine: str = "docker-20.10") -> Instance:
    for path in RECORDED:
        for kind, _, inspection in pairs(path):
            if path.stem == f"{engine}-all" and inspection["Name"].lstrip("/") == name:
                return instance_of(container_from_inspection(inspection, kind), kind.name)
    raise AssertionError(f"nothing recorded of {name}")


def test_replicas_share_their_services_name_and_have_numbers() -> None:
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


def test_states_and_health_are_told() -> None:
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


def test_addresses_in_all_networks_are_told_in_the_order_of_their_names() -> None:
    addresses = recorded("two-networks").ips
    assert addresses[:2] == ("172.31.7.2", "fd00:6b6f:69::2")  # of back, and then of front
    assert len(addresses) > 2
    assert recorded("host-network").ips == recorded("no-network").ips == ()


def test_the_environment_asks_by_one_variable() -> None:
    assert recorded("two-networks").metadata.name == "http"


def test_podmans_ranges_and_pods_have_their_ports() -> None:
    assert recorded("range", "podman-5.4").ports == tuple(
        port(9000 + n, 19000 + n) for n in range(3)
    )
    assert recorded("inpod", "podman-5.4").ports == (port(80, 18090),)


def test_podman_4_tells_exposed_ports_in_its_own_way() -> None:
    published = (port(53, 15353, protocol=Protocol.UDP), port(80, 18080, "::"))
    local = port(443, 18443, "127.0.0.1")
    assert recorded("web", "podman-4.3").ports == (*published, local, port(9000))
    assert recorded("side", "podman-4.3").ports == (*published, local)
