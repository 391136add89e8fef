"""Which addresses of this host others reach: chosen among all, and read from the real kernel."""

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
def test_what_leads_nowhere_has_none(flags: int) -> None:
    assert reachable([interface(2, flags=flags)], [at(2, "192.0.2.1")]) == ()


def test_addresses_of_one_link_are_for_where_there_are_no_others() -> None:
    near, wide = at(2, "fe80::1", linklocal=True), at(2, "192.0.2.1")
    assert reachable([interface(2)], [near, wide]) == (wide,)
    assert reachable([interface(2)], [near]) == (near,)


@pytest.mark.parametrize(
    ("inside", "counts"), [("veth", False), ("tun", False), ("", True), ("bond", True)]
)
def test_a_bridge_counts_when_more_than_containers_are_on_it(inside: str, counts: bool) -> None:  # noqa: FBT001
    there = [interface(2, "bridge"), interface(3, inside, master=2)]
    assert bool(reachable(there, [at(2, "172.17.0.1")])) is counts


def test_an_empty_bridge_is_no_network_of_others() -> None:
    assert reachable([interface(2, "bridge")], [at(2, "172.17.0.1")]) == ()


def test_the_real_kernel_is_read() -> None:
    names = {index for index, _ in socket.if_nameindex()}
    found = addresses.now()
    assert {one.interface for one in found} <= names
    for one in found:
        family = socket.AF_INET6 if ":" in one.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as door:
            place = (one.address, 0, 0, one.interface) if ":" in one.address else (one.address, 0)
            door.bind(place)


async def test_a_watch_waits_and_may_be_given_up() -> None:
    watch = Addresses()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await watch.changed()
    finally:
        watch.close()
