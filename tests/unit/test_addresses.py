"""The addresses at which other hosts reach this host: chosen, and read from the real kernel."""

import asyncio
import socket

import pytest

from koi_agent.host import addresses
from koi_agent.host.addresses import Addresses, HostAddress, Interface, reachable

FLAGS = 0x1043  # up, broadcast, running, multicast


def interface(index: int, kind: str = "", master: int = 0, flags: int = FLAGS) -> Interface:
    return Interface(index=index, flags=flags, kind=kind, master=master)


def at(index: int, address: str, *, linklocal: bool = False) -> HostAddress:
    return HostAddress(interface=index, address=address, linklocal=linklocal)


def test_each_network_has_its_own_addresses() -> None:
    there = (at(2, "192.0.2.1"), at(2, "2001:db8::1"), at(3, "198.51.100.1"))
    assert reachable([interface(2), interface(3)], reversed(there)) == there


@pytest.mark.parametrize("flags", [0x49, 0x1003, 0x1042, 0x43], ids=["lo", "dead", "down", "ptp"])
def test_interface_without_a_network_has_no_addresses(flags: int) -> None:
    assert reachable([interface(2, flags=flags)], [at(2, "192.0.2.1")]) == ()


def test_link_local_addresses_are_used_only_without_others() -> None:
    near, wide = at(2, "fe80::1", linklocal=True), at(2, "192.0.2.1")
    assert reachable([interface(2)], [near, wide]) == (wide,)
    assert reachable([interface(2)], [near]) == (near,)


@pytest.mark.parametrize(
    ("inside", "counts"), [("veth", False), ("tun", False), ("", True), ("bond", True)]
)
def test_bridge_counts_if_it_connects_more_than_containers(inside: str, counts: bool) -> None:  # noqa: FBT001
    there = [interface(2, "bridge"), interface(3, inside, master=2)]
    assert bool(reachable(there, [at(2, "172.17.0.1")])) is counts


def test_empty_bridge_does_not_count() -> None:
    assert reachable([interface(2, "bridge")], [at(2, "172.17.0.1")]) == ()


def test_addresses_of_the_real_kernel_are_parsed() -> None:
    names = {index for index, _ in socket.if_nameindex()}
    found = addresses.now()
    assert {one.interface for one in found} <= names
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
