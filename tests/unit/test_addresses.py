"""The interfaces and addresses of this host: sorted out, and read from the real kernel."""

import asyncio
import socket

import pytest

from koi_agent.core.reach.network import HostNetwork, LinkAddress, LinkKind
from koi_agent.host import addresses
from koi_agent.host.addresses import Addresses, Interface, announced, links
from tests.conftest import require

FLAGS = 0x1043  # up, broadcast, running, multicast


def interface(
    index: int, kind: str = "", master: int = 0, flags: int = FLAGS, name: str = ""
) -> Interface:
    name = name or f"lan{index}"
    return Interface(index=index, name=name, flags=flags, kind=kind, master=master)


def at(
    index: int, address: str, *, linklocal: bool = False, lasting: bool = True
) -> tuple[int, LinkAddress]:
    return index, LinkAddress(
        address=address, prefix=24, is_link_local=linklocal, is_lasting=lasting
    )


def found(
    interfaces: list[Interface], there: list[tuple[int, LinkAddress]]
) -> list[tuple[int, str]]:
    made = HostNetwork(tuple(links(interfaces, there)))
    return [(one.interface, one.address) for one in announced(made)]


def test_each_network_has_its_own_addresses() -> None:
    there = [at(3, "198.51.100.1"), at(2, "2001:db8::1"), at(2, "192.0.2.1")]
    expected = [(2, "192.0.2.1"), (2, "2001:db8::1"), (3, "198.51.100.1")]
    assert found([interface(2), interface(3)], there) == expected


@pytest.mark.parametrize("flags", [0x49, 0x1003, 0x1042, 0x43], ids=["lo", "dead", "down", "ptp"])
def test_interface_without_a_multicast_network_has_no_addresses(flags: int) -> None:
    assert found([interface(2, flags=flags)], [at(2, "192.0.2.1")]) == []


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([at(2, "169.254.7.1", linklocal=True)], ["169.254.7.1"]),
        ([at(2, "169.254.7.1", linklocal=True), at(2, "192.0.2.1")], ["192.0.2.1"]),
        ([at(2, "fe80::1", linklocal=True), at(2, "192.0.2.1")], ["192.0.2.1", "fe80::1"]),
        ([at(2, "fe80::1", linklocal=True), at(2, "2001:db8::1")], ["2001:db8::1"]),
        ([at(2, "fe80::1", linklocal=True), at(3, "2001:db8::1")], ["fe80::1", "2001:db8::1"]),
        ([at(2, "192.0.2.1", lasting=False)], []),
    ],
)
def test_link_local_address_counts_if_its_interface_has_no_other_of_the_family(
    there: list[tuple[int, LinkAddress]], expected: list[str]
) -> None:
    assert [text for _, text in found([interface(2), interface(3)], there)] == expected


def test_link_local_address_without_a_network_does_not_count() -> None:
    alone = (2, LinkAddress(address="169.254.53.53", prefix=32, is_link_local=True))
    wide = (3, LinkAddress(address="192.0.2.1", prefix=32))
    assert found([interface(2), interface(3)], [alone, wide]) == [(3, "192.0.2.1")]


@pytest.mark.parametrize(
    ("inside", "counts"), [("veth", False), ("tun", False), ("", True), ("bond", True)]
)
def test_bridge_counts_if_it_connects_more_than_containers(inside: str, counts: bool) -> None:  # noqa: FBT001
    there = [interface(2, "bridge"), interface(3, inside, master=2)]
    assert bool(found(there, [at(2, "172.17.0.1")])) is counts


def test_empty_bridge_does_not_count() -> None:
    assert found([interface(2, "bridge")], [at(2, "172.17.0.1")]) == []


@pytest.mark.parametrize(
    ("name", "kind", "counts"),
    [
        ("ve-web", "veth", False),
        ("vt-vm", "tun", False),
        ("ve-web", "", True),
        ("veth1", "veth", True),
    ],
)
def test_a_link_to_one_machine_does_not_count(name: str, kind: str, *, counts: bool) -> None:
    there = [interface(2, kind, name=name)]
    assert bool(found(there, [at(2, "192.0.2.1")])) is counts
    (link,) = links(there, ())
    assert link.is_bridge is not counts


@pytest.mark.parametrize(
    ("name", "kind", "counts"),
    [
        ("flannel.1", "vxlan", False),
        ("flannel-v6.1", "vxlan", False),
        ("vxlan.calico", "vxlan", False),
        ("cali1a2b3c4d5e6", "veth", False),
        ("lxc1a2b3c4d", "veth", False),
        ("cilium_host", "veth", False),
        ("vxlan0", "vxlan", True),
        ("lxc0", "", True),
        ("california", "vlan", True),
    ],
)
def test_a_link_to_the_pods_of_a_cluster_does_not_count(
    name: str, kind: str, *, counts: bool
) -> None:
    there = [interface(2, kind, name=name)]
    assert bool(found(there, [at(2, "10.42.0.0"), at(2, "fe80::1", linklocal=True)])) is counts


def test_port_of_a_bridge_has_no_addresses_of_its_own() -> None:
    there = [interface(2, "bridge"), interface(3, master=2)]
    assert found(there, [at(2, "192.0.2.1"), at(3, "fe80::3", linklocal=True)]) == [
        (2, "192.0.2.1")
    ]


def test_interfaces_of_the_real_kernel_are_parsed() -> None:
    made = addresses.network()
    assert {(link.index, link.name) for link in made.links} <= set(socket.if_nameindex())
    loopback = made.link("lo")
    assert loopback
    assert loopback.kind is LinkKind.LOOPBACK
    assert LinkAddress(address="127.0.0.1", prefix=8) in loopback.addresses


def test_addresses_of_the_real_kernel_can_be_bound() -> None:
    found = addresses.now()
    if not found:
        require("network", "this host has no address but those of loopback")
    for one in found:
        family = socket.AF_INET6 if ":" in one.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as door:
            place = (one.address, 0, 0, one.interface) if ":" in one.address else (one.address, 0)
            door.bind(place)


async def test_watch_waits_and_can_be_cancelled() -> None:
    watch = Addresses()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await watch.changed()
    finally:
        watch.close()
