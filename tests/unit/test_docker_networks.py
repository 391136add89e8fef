"""Chains of containers that share the network of the last one."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.docker.containers import Container, Inspected
from koi_agent.backends.docker.kinds import DOCKER
from koi_agent.backends.docker.networks import MAX_CHAIN, Networks
from koi_agent.backends.docker.table import ContainerTable
from koi_agent.backends.http_engine.json_fields import nanoseconds
from koi_agent.core.events import Gone, Seen
from koi_agent.core.instance import InstanceState
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.owner_ports import HostPorts
from tests.unit.engine_records import port

PORTS = (port(8071, 18071),)


def box(name: str, joins: str = "", *, started: int = 0) -> Container:
    """Return a container whose id is its name; ``started`` is in seconds after some time."""
    at = f"2026-11-29T07:00:{started:02}.5Z" if started else ""
    return Container(
        id=name,
        name=name,
        state=InstanceState.RUNNING,
        network=joins and f"container:{joins}",
        inspected=Inspected(main_pid=7, started_at=at),
    )


VPN = replace(box("vpn", started=1), ports=PORTS, ips=("172.17.0.2",))
CHAIN = (VPN, box("app", "vpn", started=2), box("exporter", "app", started=3))


class Engine:
    """A table, and the host ports of the containers as they were delivered last."""

    def __init__(self) -> None:
        self.ports: dict[str, list[int]] = {}
        host_ports = HostPorts(ListenerTable(), lambda _id: None)
        self.table = ContainerTable(DOCKER.name, {}, self._deliver, host_ports, image_labels=True)

    def _deliver(self, change: Seen | Gone) -> None:
        match change:
            case Seen(instance):
                assert bool(instance.ips) is bool(instance.ports), instance
                self.ports[instance.id] = [one.host_port for one in instance.ports]
            case Gone():
                self.ports.pop(change.id, None)


ALL = {"vpn": [18071], "app": [18071], "exporter": [18071]}


@pytest.mark.parametrize("order", list(permutations(CHAIN)))
def test_chain_is_followed_to_its_end_in_any_order(order: tuple[Container, ...]) -> None:
    engine = Engine()
    for container in order:
        engine.table.publish(container)
    assert engine.ports == ALL


@pytest.mark.parametrize("link", ["vpn", "app"])
def test_link_that_ends_and_starts_takes_and_brings_the_ports(link: str) -> None:
    engine = Engine()
    for container in CHAIN:
        engine.table.publish(container)
    engine.table.remove(link, "exited")
    assert engine.ports["exporter"] == []
    for container in CHAIN:
        engine.table.publish(replace(container, inspected=None))
    assert engine.ports == ALL


def test_changed_end_of_a_chain_changes_all() -> None:
    engine = Engine()
    for container in CHAIN:
        engine.table.publish(container)
    engine.table.publish(replace(VPN, ports=(port(8071, 1), port(8072, 2))))
    assert engine.ports == {name: [1, 2] for name in ALL}


@pytest.mark.parametrize(
    ("vpn", "app", "exporter", "lost"),
    [
        (1, 2, 3, []),
        (9, 2, 3, ["app", "exporter"]),
        (5, 6, 3, ["exporter"]),
        (5, 2, 9, ["app", "exporter"]),
        (1, 9, 3, []),
        (5, 7, 6, []),
        (0, 2, 3, []),
        (9, 0, 3, ["exporter"]),
        (9, 0, 0, []),
    ],
)
def test_restarted_owner_leaves_those_behind_that_joined_before(
    vpn: int, app: int, exporter: int, lost: list[str]
) -> None:
    chain = [
        replace(box("vpn", started=vpn)),
        box("app", "vpn", started=app),
        box("exporter", "app", started=exporter),
    ]
    networks = Networks({one.id: one for one in chain})
    assert [one.id for one in chain if networks.of(one).is_lost] == lost


def test_network_of_the_host_is_never_lost() -> None:
    host = replace(box("web", started=9), network="host")
    joiner = box("app", "web", started=1)
    network = Networks({one.id: one for one in (host, joiner)}).of(joiner)
    assert (network.is_host, network.is_lost) == (True, False)


@pytest.mark.parametrize("length", [1, 2, 3, 40])
def test_cycle_has_no_owner_and_ends(length: int) -> None:
    names = [f"c{number}" for number in range(length)]
    ring = {name: box(name, names[n - 1]) for n, name in enumerate(names)}
    networks = Networks(ring)
    assert all(networks.of(one).owner is None for one in ring.values())
    assert sorted([*networks.joiners("c0"), "c0"]) == sorted(names)


def test_chain_is_followed_up_to_a_bound() -> None:
    names = [f"c{number}" for number in range(MAX_CHAIN + 1)]
    chain = {name: box(name, names[n - 1] if n else "") for n, name in enumerate(names)}
    networks = Networks(chain)
    assert networks.of(chain[names[-2]]).owner is chain["c0"]
    assert networks.of(chain[names[-1]]).owner is None


@given(
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["", *"abcdef"])),
    st.lists(st.sampled_from("abcde")),
)
def test_nothing_is_left_of_containers_that_are_gone(
    joins: dict[str, str], removed: list[str]
) -> None:
    engine = Engine()
    for name, target in joins.items():
        engine.table.publish(box(name, target))
    for name in [*removed, *joins]:
        engine.table.remove(name, "exited")
    assert engine.ports == {}
    for name in joins:
        engine.table.publish(box(name))
    # A container that is still known to share a network is delivered with its owner.
    for name in joins:
        engine.ports.clear()
        engine.table.publish(box(name))
        assert engine.ports == {name: []}


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-11-29T07:00:00Z", "2026-11-29T07:00:00.000000001Z"),
        ("2026-11-29T07:00:00.2Z", "2026-11-29T07:00:00.21Z"),
        ("2026-11-29T09:00:00.5+02:00", "2026-11-29T07:00:00.6Z"),
        ("", "2026-11-29T07:00:00Z"),
        ("yesterday", "2026-11-29T07:00:00Z"),
        ("0001-01-01T00:00:00Z", "2026-11-29T07:00:00Z"),
    ],
)
def test_times_are_compared_to_the_nanosecond(earlier: str, later: str) -> None:
    assert nanoseconds(earlier) < nanoseconds(later)
