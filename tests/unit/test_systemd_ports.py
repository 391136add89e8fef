"""Which ports a unit serves, and when its listeners are read."""

import math
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.systemd.ports import CONTAINER_PROXIES, unit_ports
from koi_agent.backends.systemd.sockets import socket_ports
from koi_agent.core.instance import (
    KoiMetadata,
    PortMapping,
    PortMetadata,
    PortSource,
    Protocol,
)
from koi_agent.host.listener_schedule import ListenerSchedule
from koi_agent.host.listeners import EPHEMERAL, ephemeral_ports
from koi_agent.host.sock_diag import Listener

TCP, UDP = Protocol.TCP, Protocol.UDP
NOTHING = KoiMetadata()


def tcp(port: int, address: str) -> Listener:
    return Listener(port=port, protocol=TCP, address=address)


def udp(port: int, address: str = "0.0.0.0") -> Listener:
    return Listener(port=port, protocol=UDP, address=address)


def listening(port: int, address: str, protocol: Protocol = TCP) -> PortMapping:
    return PortMapping(
        container_port=port,
        protocol=protocol,
        host_port=port,
        host_ip=address,
        source=PortSource.LISTENING,
    )


def declared(port: int, protocol: Protocol = TCP) -> PortMapping:
    return replace(listening(port, "", protocol), source=PortSource.DECLARED)


def with_ports(*services: tuple[int, Protocol]) -> KoiMetadata:
    return KoiMetadata(ports=tuple((service, PortMetadata()) for service in services))


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["0.0.0.0"], ["0.0.0.0"]),
        (["::"], ["::"]),
        (["0.0.0.0", "::"], ["::"]),
        (["0.0.0.0", "192.0.2.1"], ["0.0.0.0"]),
        (["::", "192.0.2.1", "::1"], ["::"]),
        (["127.0.0.1", "::1"], ["127.0.0.1", "::1"]),
        (["192.0.2.1", "192.0.2.1"], ["192.0.2.1"]),
    ],
)
def test_addresses_of_one_port_are_one_service(addresses: list[str], expected: list[str]) -> None:
    for order in permutations(addresses):
        ports = unit_ports("web.service", [tcp(80, one) for one in order], NOTHING)
        assert ports == tuple(listening(80, one) for one in expected)


def test_ports_are_sorted_and_protocols_apart() -> None:
    found = [tcp(443, "::"), udp(53), tcp(53, "0.0.0.0"), tcp(80, "::")]
    assert unit_ports("web.service", found, NOTHING) == (
        listening(53, "0.0.0.0"),
        listening(53, "0.0.0.0", UDP),
        listening(80, "::"),
        listening(443, "::"),
    )


@pytest.mark.parametrize("metadata", [KoiMetadata(port=40000), with_ports((40000, UDP))])
def test_ephemeral_udp_port_counts_only_if_declared(metadata: KoiMetadata) -> None:
    assert unit_ports("dns.service", [udp(40000)], NOTHING) == ()
    assert unit_ports("dns.service", [udp(40000)], metadata) == (listening(40000, "0.0.0.0", UDP),)


def test_ephemeral_range_is_the_hosts() -> None:
    found = [udp(40000), udp(20000)]
    expected = (listening(40000, "0.0.0.0", UDP),)
    assert unit_ports("a.service", found, NOTHING, ephemeral=range(10000, 30000)) == expected


def test_ephemeral_tcp_port_is_a_listener() -> None:
    assert unit_ports("web.service", [tcp(40000, "::")], NOTHING) == (listening(40000, "::"),)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (KoiMetadata(port=8080), (declared(8080),)),
        (KoiMetadata(port=53, service_type="_dns._udp"), (declared(53, UDP),)),
        (with_ports((8080, TCP), (53, UDP)), (declared(53, UDP), declared(8080))),
        (replace(with_ports((53, UDP)), port=53), (declared(53, UDP),)),
    ],
)
def test_declared_port_without_a_listener_is_added(
    metadata: KoiMetadata, expected: tuple[PortMapping, ...]
) -> None:
    assert unit_ports("web.service", [], metadata) == expected


def test_declared_port_that_listens_is_a_listener() -> None:
    metadata = replace(with_ports((8080, TCP)), port=8080)
    found = [tcp(8080, "127.0.0.1")]
    assert unit_ports("web.service", found, metadata) == (listening(8080, "127.0.0.1"),)


def test_declared_port_may_listen_on_udp() -> None:
    expected = (listening(53, "0.0.0.0", UDP),)
    assert unit_ports("dns.service", [udp(53)], KoiMetadata(port=53)) == expected


@pytest.mark.parametrize("unit", sorted(CONTAINER_PROXIES))
def test_listeners_that_serve_containers_are_not_the_daemons(unit: str) -> None:
    found = [tcp(8080, "0.0.0.0"), tcp(2375, "0.0.0.0")]
    assert unit_ports(unit, found, NOTHING) == ()
    assert unit_ports(unit, found, KoiMetadata(port=2375)) == (listening(2375, "0.0.0.0"),)


def test_ports_of_sockets_that_trigger_a_unit_are_its_own() -> None:
    sockets = socket_ports([("Stream", "0.0.0.0:80"), ("Datagram", "[::]:40000")])
    assert unit_ports("web.service", [tcp(80, "::")], NOTHING, sockets=sockets) == (
        listening(80, "::"),
        listening(40000, "::", UDP),
    )


@pytest.mark.parametrize(
    ("kind", "where", "expected"),
    [
        ("Stream", "[::]:8080", listening(8080, "::")),
        ("Stream", "127.0.0.1:80", listening(80, "127.0.0.1")),
        ("Datagram", "0.0.0.0:53", listening(53, "0.0.0.0", UDP)),
        ("Stream", "[0::0001]:80", listening(80, "::1")),
        ("Stream", "[::ffff:192.0.2.1]:80", listening(80, "192.0.2.1")),
        ("Stream", "[fe80::1]:80%eth0", listening(80, "fe80::1")),
        ("Stream", "/run/x.sock", None),
        ("Stream", "@abstract", None),
        ("Stream", "vsock:2:1234", None),
        ("Stream", "/run/[::]:80", None),
        ("Stream", "999.0.0.1:80", None),
        ("Stream", "[1::2::3]:80", None),
        ("Stream", "0.0.0.0:0", None),
        ("Stream", "0.0.0.0:65536", None),
        ("SequentialPacket", "[::]:80", None),
        ("Netlink", "route 1361", None),
        ("Special", "/dev/x", None),
        ("", "", None),
    ],
)
def test_only_ip_sockets_are_ports(kind: str, where: str, expected: PortMapping | None) -> None:
    assert socket_ports([(kind, where)]) == (() if expected is None else (expected,))


@given(st.text(), st.text())
def test_no_listen_property_raises(kind: str, where: str) -> None:
    socket_ports([(kind, where), ("Stream", where)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20000\t30000\n", range(20000, 30001)), ("", EPHEMERAL), ("a b", EPHEMERAL)],
)
def test_ephemeral_ports_are_the_kernels(tmp_path: Path, text: str, expected: range) -> None:
    file = tmp_path / "range"
    file.write_text(text)
    assert ephemeral_ports(file) == expected


def test_ephemeral_ports_hidden_by_a_sandbox_are_the_default(tmp_path: Path) -> None:
    assert ephemeral_ports(tmp_path / "none") == EPHEMERAL


def readings(schedule: ListenerSchedule, until: float) -> list[float]:
    """Return when listeners are read, each at the time that it is due."""
    times = []
    while (due := schedule.next_due()) <= until:
        times.append(due)
        schedule.done(due)
    return times


def test_start_is_followed_by_six_readings() -> None:
    schedule = ListenerSchedule()
    assert schedule.next_due() == math.inf
    schedule.started("web.service", 5.0)
    assert readings(schedule, 100) == pytest.approx([5.1, 5.3, 6, 8.25, 15, 37.5])
    assert schedule.next_due() == math.inf


def test_owner_that_has_ended_is_not_read_for() -> None:
    schedule = ListenerSchedule()
    for number in range(100):
        schedule.started("tick.service", number)
        schedule.ended("tick.service")
    assert schedule.next_due() == math.inf
    schedule.started("tick.service", 200)
    schedule.started("web.service", 200)
    schedule.done(201)
    schedule.ended("tick.service")
    assert readings(schedule, 300) == pytest.approx([203.25, 210, 232.5])


def test_another_start_replaces_the_readings_of_the_first() -> None:
    schedule = ListenerSchedule()
    schedule.started("web.service", 0)
    schedule.started("web.service", 1000)
    assert readings(schedule, 2000)[0] == pytest.approx(1000.1)


def test_many_starts_share_late_readings() -> None:
    schedule = ListenerSchedule()
    for number in range(1000):
        schedule.started(f"{number}.service", number / 1000)
    assert len([one for one in readings(schedule, 100) if one > 2]) <= 8


def test_reading_for_another_reason_counts() -> None:
    schedule = ListenerSchedule()
    schedule.started("web.service", 0)
    schedule.done(4)
    assert schedule.next_due() == pytest.approx(10)


def test_reading_that_took_long_is_not_repeated_soon() -> None:
    schedule = ListenerSchedule()
    schedule.started("web.service", 0)
    schedule.done(0.1, took=0.2)
    assert readings(schedule, 5)[0] == pytest.approx(4.1)


STARTS = st.lists(st.floats(0, 40, allow_nan=False), max_size=300).map(sorted)


@given(STARTS)
def test_every_start_gets_its_readings_at_most_ten_a_second(starts: list[float]) -> None:
    schedule = ListenerSchedule()
    times: list[float] = []
    for number, start in enumerate(starts):
        times += readings(schedule, start)
        schedule.started(f"{number}.service", start)
    times += readings(schedule, 1000)
    assert all(after - before >= 0.0999 for before, after in pairwise(times))
    for start in starts:
        for delay in ListenerSchedule.AFTER_START:
            assert any(start + delay <= time <= start + 1.25 * delay + 0.2001 for time in times)
