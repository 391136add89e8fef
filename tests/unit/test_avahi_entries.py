"""The entries of records: on which interfaces, at which addresses, in how many groups."""

from dataclasses import replace

import pytest

from koi_agent.capabilities.mdns.avahi.entries import (
    EVERY,
    AddressEntry,
    Host,
    ServiceEntry,
    compose,
    family_name,
)
from koi_agent.capabilities.mdns.records import HostName, Service
from koi_agent.core.instance import RecordState
from koi_agent.core.key import Key
from koi_agent.host.addresses import HostAddress

OWNER = Key("docker", "a")
LAN, USB = 2, 3
HOST = Host(
    "box",
    (
        HostAddress(interface=LAN, address="192.0.2.1"),
        HostAddress(interface=LAN, address="2001:db8::1"),
        HostAddress(interface=USB, address="169.254.7.1"),
    ),
    (("lan0", LAN), ("usb0", USB)),
)
NAME = HostName(owner=OWNER, name="web")
WEB = Service(owner=OWNER, name="web", type="_http._tcp", port=80)


def addresses(record: HostName | Service, host: Host = HOST) -> list[tuple[int, str]]:
    entries = [entry for part in compose(record, record.name, host).parts for entry in part]
    return [(one.interface, one.address) for one in entries if isinstance(one, AddressEntry)]


def services(record: Service) -> list[tuple[int, str]]:
    entries = [entry for part in compose(record, record.name, HOST).parts for entry in part]
    return [(one.interface, one.target) for one in entries if isinstance(one, ServiceEntry)]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (NAME, [(LAN, "192.0.2.1"), (LAN, "2001:db8::1"), (USB, "169.254.7.1")]),
        (replace(NAME, family=6), [(LAN, "2001:db8::1")]),
        (replace(NAME, interfaces=("usb0",)), [(USB, "169.254.7.1")]),
        (replace(NAME, interfaces=("lan0",), family=4), [(LAN, "192.0.2.1")]),
        (replace(NAME, addresses=("192.0.2.7",)), [(EVERY, "192.0.2.7")]),
        (replace(NAME, addresses=("192.0.2.7",), interfaces=("lan0",)), [(LAN, "192.0.2.7")]),
    ],
)
def test_a_host_name_has_a_group_for_each_address(
    record: HostName, expected: list[tuple[int, str]]
) -> None:
    assert addresses(record) == expected
    assert {len(part) for part in compose(record, "web", HOST).parts} == {1}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (WEB, [(EVERY, "")]),
        (replace(WEB, interfaces=("lan0", "usb0")), [(LAN, ""), (USB, "")]),
        (replace(WEB, family=4), [(EVERY, "koi-box-ipv4.local")]),
        (replace(WEB, addresses=("192.0.2.7",)), [(EVERY, "koi-192-0-2-7.local")]),
        (
            replace(WEB, addresses=("192.0.2.7",), interfaces=("usb0",)),
            [(USB, "koi-192-0-2-7.local")],
        ),
    ],
)
def test_a_service_is_announced_on_its_interfaces(
    record: Service, expected: list[tuple[int, str]]
) -> None:
    assert services(record) == expected


@pytest.mark.parametrize("record", [WEB, replace(WEB, family=6)])
def test_a_service_does_not_depend_on_addresses(record: Service) -> None:
    assert compose(record, "web", HOST) == compose(record, "web", replace(HOST, addresses=()))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (
            replace(WEB, interfaces=("wg0", "wg1")),
            "this host has no address with multicast on wg0 or wg1",
        ),
        (replace(NAME, interfaces=("wg0",)), "this host has no address with multicast on wg0"),
        (
            replace(NAME, family=6, interfaces=("usb0",)),
            "this host has no IPv6 address that other hosts reach",
        ),
    ],
)
def test_a_record_without_an_interface_or_address_is_held(
    record: HostName | Service, reason: str
) -> None:
    composed = compose(record, record.name, HOST)
    assert (composed.parts, composed.state, composed.reason) == ((), RecordState.HELD, reason)


@pytest.mark.parametrize("number", [31, 32, 64, 200])
def test_entries_past_the_limit_of_a_group_use_more_groups(number: int) -> None:
    many = tuple(f"192.0.2.{last}" for last in range(number))
    parts = compose(replace(WEB, addresses=many), "web", HOST).parts
    assert isinstance(parts[0][0], ServiceEntry)
    assert max(map(len, parts)) <= 32
    assert len(addresses(replace(WEB, addresses=many))) == number


@pytest.mark.parametrize("host", ["box", "b" * 63, "ü" * 31])
def test_the_name_for_a_family_is_one_label(host: str) -> None:
    name = family_name(host, 6)
    assert len(name.encode()) <= 63
    assert name.startswith("koi-")
    assert name.endswith("-ipv6")
