"""Ports and addresses of an instance, from its devices."""

import asyncio
from typing import Any

import pytest

from koi_agent.backends.incus.address_checks import AddressChecks
from koi_agent.backends.incus.addresses import addresses_of, has_network_device
from koi_agent.backends.incus.guests import parse_guest
from koi_agent.backends.incus.proxies import MAX_PORTS, proxy_ports
from koi_agent.core.instance import MAX_IPS, MORE_IPS
from koi_agent.host.lxc_groups import payload_group
from tests.runtimes.fake_guests import FakeGuest
from tests.unit.test_incus_recordings import PLACE
from tests.unit.virtual_time import run


def ports(**device: str) -> list[tuple[str, str, int, int]]:
    record = {"expanded_devices": {"p": {"type": "proxy", **device}}}
    return [
        (str(one.protocol), one.host_ip, one.host_port, one.container_port)
        for one in proxy_ports(record)
    ]


@pytest.mark.parametrize(
    ("listen", "connect", "found"),
    [
        ("tcp:127.0.0.1:80", "tcp:127.0.0.1:8080", [("tcp", "127.0.0.1", 80, 8080)]),
        ("tcp:0.0.0.0:80", "tcp:127.0.0.1:80", [("tcp", "::", 80, 80)]),
        ("tcp:[::]:80", "tcp:[::1]:80", [("tcp", "::", 80, 80)]),
        ("udp:192.0.2.1:53", "udp:127.0.0.1:53", [("udp", "192.0.2.1", 53, 53)]),
        ("tcp:[2001:db8::1]:80", "tcp:10.0.0.1:80", [("tcp", "2001:db8::1", 80, 80)]),
        (
            "tcp:127.0.0.1:80,90-91",
            "tcp:127.0.0.1:1-2,7",
            [("tcp", "127.0.0.1", 80, 1), ("tcp", "127.0.0.1", 90, 2), ("tcp", "127.0.0.1", 91, 7)],
        ),
        (
            "tcp:127.0.0.1:80-81",
            "tcp:127.0.0.1:9",
            [("tcp", "127.0.0.1", 80, 9), ("tcp", "127.0.0.1", 81, 9)],
        ),
        ("tcp:127.0.0.1:80", "unix:/run/x", [("tcp", "127.0.0.1", 80, 80)]),
        ("unix:/run/x", "tcp:127.0.0.1:80", []),
        ("tcp:127.0.0.1:0", "tcp:127.0.0.1:80", []),
        ("tcp:127.0.0.1:65536", "tcp:127.0.0.1:80", []),
        ("tcp:127.0.0.1:9-8", "tcp:127.0.0.1:80", []),
        ("tcp:127.0.0.1:,-,", "tcp:127.0.0.1:80", []),
        ("tcp:999.0.0.1:80", "tcp:127.0.0.1:80", []),
        ("tcp:[fe80]:80", "tcp:127.0.0.1:80", []),
        ("", "", []),
    ],
)
def test_a_proxy_device_publishes_its_ports(
    listen: str, connect: str, found: list[tuple[str, str, int, int]]
) -> None:
    assert ports(listen=listen, connect=connect) == found


@pytest.mark.parametrize(("bind", "count"), [("host", 1), ("instance", 0), ("guest", 0)])
def test_only_a_device_that_listens_on_the_host_publishes(bind: str, count: int) -> None:
    assert len(ports(listen="tcp:127.0.0.1:80", connect="tcp:127.0.0.1:80", bind=bind)) == count


def test_a_long_range_is_cut() -> None:
    assert len(ports(listen="tcp:127.0.0.1:1-65535", connect="tcp:127.0.0.1:80")) == MAX_PORTS


def test_addresses_are_those_of_the_devices_of_the_server() -> None:
    record = FakeGuest("web", addresses=("fd42::1", "10.0.0.10", "10.0.0.9")).record()
    assert addresses_of(record) == ("10.0.0.9", "10.0.0.10", "fd42::1")
    assert has_network_device(record)


@pytest.mark.parametrize(("count", "notes"), [(MAX_IPS, ()), (MAX_IPS + 1, (MORE_IPS,))])
def test_of_many_addresses_some_are_kept(count: int, notes: tuple[str, ...]) -> None:
    addresses = tuple(f"10.0.{number // 250}.{number % 250}" for number in range(count))
    web = parse_guest(FakeGuest("web", addresses=addresses).record(), PLACE).instance
    assert (web.ips, web.notes) == (addresses[:MAX_IPS], notes)


def test_without_a_known_hardware_address_all_interfaces_count() -> None:
    record = FakeGuest("web", addresses=("10.0.0.9",)).record()
    del record["expanded_config"]["volatile.eth0.hwaddr"]
    assert addresses_of(record) == ("10.0.0.9", "172.17.0.1")


@pytest.mark.parametrize("network", [None, [], {"eth0": None}, {"eth0": {"addresses": [{}, 1]}}])
def test_a_strange_network_has_no_addresses(network: Any) -> None:
    assert addresses_of({"state": {"network": network}}) == ()


def test_a_process_that_is_gone_has_no_group() -> None:
    assert payload_group("default", "no-such-container", 2**22) == ""
    assert payload_group("default", "no-such-container", 0) == ""


def test_an_instance_is_checked_some_times_after_its_last_event() -> None:
    async def script() -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        clock = asyncio.get_running_loop().time
        began = clock()
        checks = AddressChecks((1.0, 3.0), lambda id_: found.append((id_, clock() - began)))
        checks.begin("web")
        checks.begin("db")
        await asyncio.sleep(0.5)
        checks.begin("web")
        await asyncio.sleep(20)
        checks.begin("db")
        checks.end("db")
        checks.end("never")
        await asyncio.sleep(20)
        checks.begin("web")
        checks.close()
        await asyncio.sleep(20)
        return found

    assert run(script()) == [("db", 1.0), ("web", 1.5), ("db", 3.0), ("web", 3.5)]
