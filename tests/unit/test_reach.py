"""From where other hosts reach a port, by what binds, what publishes and what filters."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.instance import (
    Instance,
    InstanceState,
    KoiMetadata,
    PortMapping,
    PortSource,
    Protocol,
)
from koi_agent.core.reach.addresses import Family, family_set
from koi_agent.core.reach.filters import AddressFilter
from koi_agent.core.reach.local import NotFromHere, Target, targets
from koi_agent.core.reach.model import Endpoint, Reachability, places, reachability
from koi_agent.core.reach.network import UNKNOWN, HostNetwork, LinkKind
from koi_agent.core.traits import CONTAINER, LOCAL_POD, POD, UNIT, Traits
from koi_agent.core.unit_file.filters import FilterSettings
from tests.unit.networks import DOCKER, HOST, LAN, LO, LO4, OFFICE, USB, VPN, link

ROUTED = Traits(is_routable=True)
BRIDGED_LAN = link("br0", "192.0.2.10/24", bridge=True)
LISTENING, DECLARED = PortSource.LISTENING, PortSource.DECLARED


def port(
    ip: str = "0.0.0.0",
    host_port: int = 8080,
    container_port: int = 80,
    source: PortSource = PortSource.PUBLISHED,
    **more: object,
) -> PortMapping:
    return PortMapping(
        container_port=container_port,
        host_port=host_port,
        host_ip=ip,
        source=source,
        **({"protocol": Protocol.TCP} | more),  # type: ignore[arg-type]
    )


def made(*ports: PortMapping, ips: tuple[str, ...] = (), **more: object) -> Instance:
    return Instance(
        id="a",
        name="web",
        backend="docker",
        state=InstanceState.RUNNING,
        ports=ports,
        ips=ips,
        **({"traits": CONTAINER} | more),  # type: ignore[arg-type]
    )


def where(reach: Reachability, network: HostNetwork = HOST) -> list[str]:
    return [
        f"{place.interface} {place.address} {place.port}"
        for endpoint in reach.endpoints
        for place in places(endpoint, network)
    ]


LAN_V4 = ["lan0 192.0.2.10 8080", "lan1 198.51.100.10 8080", "usb0 169.254.7.1 8080"]
EVERY_V4 = [*LAN_V4, "wg0 10.9.0.1 8080"]
V6 = "lan0 2001:db8::10 8080"


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (port(), EVERY_V4),
        (port(""), sorted([*EVERY_V4, V6])),
        (port("::"), sorted([*EVERY_V4, V6])),
        (port("::", is_v6only=True), [V6]),
        (port("192.0.2.10"), ["lan0 192.0.2.10 8080"]),
        (port("2001:db8::10"), [V6]),
        (port("169.254.7.1"), ["usb0 169.254.7.1 8080"]),
        (port("10.9.0.1"), ["wg0 10.9.0.1 8080"]),
        (port("::ffff:192.0.2.10"), ["lan0 192.0.2.10 8080"]),
        (port("0.0.0.0", interface="lan1"), ["lan1 198.51.100.10 8080"]),
        (port("::", interface="lan0"), ["lan0 192.0.2.10 8080", V6]),
        (port("192.0.2.10", interface="lan0"), ["lan0 192.0.2.10 8080"]),
    ],
)
def test_a_bind_is_reached_where_its_address_interface_and_family_are(
    mapping: PortMapping, expected: list[str]
) -> None:
    assert where(reachability(made(mapping), HOST)) == expected


@pytest.mark.parametrize(
    ("mapping", "reason", "held"),
    [
        (port("127.0.0.1"), "only this host", False),
        (port("127.7.7.7"), "only this host", False),
        (port("::1"), "only this host", False),
        (port("224.0.0.1"), "only this host", False),
        (port("nonsense"), "not an address", False),
        (port("172.17.0.1"), "only containers of this host are on docker0", False),
        (port(interface="docker0"), "only containers of this host are on docker0", False),
        (port(interface="lo"), "only this host", False),
        (port("192.0.2.99"), "no interface of this host has the address 192.0.2.99", True),
        (port("203.0.113.1"), "eth9 is down", True),
        (port(interface="tun7"), "does not exist", True),
        (port("198.51.100.10", interface="lan0"), "not one of the interface lan0", False),
        (port("", source=DECLARED), "nothing of it listens on port 8080/tcp", True),
        (port("", host_port=0), "not published", False),
    ],
)
def test_a_port_that_no_other_host_reaches_has_a_reason(
    mapping: PortMapping,
    reason: str,
    held: bool,  # noqa: FBT001
) -> None:
    reach = reachability(made(mapping), HOST)
    assert reach.endpoints == ()
    assert [(one.port, one.is_held) for one in reach.unreachable] == [("80/tcp", held)]
    assert reason in reach.unreachable[0].reason


@pytest.mark.parametrize(
    ("ips", "network", "expected"),
    [
        (("192.0.2.77",), HOST, ["lan0 192.0.2.77 80"]),
        (("192.0.2.77",), HostNetwork((BRIDGED_LAN, LO)), ["br0 192.0.2.77 80"]),
        (("172.17.0.2",), HOST, []),
        (("10.88.0.2",), HOST, []),
        (("172.17.0.2", "192.0.2.77"), HOST, ["lan0 192.0.2.77 80"]),
        (("fe80::7",), HOST, []),
        ((), HOST, []),
    ],
)
def test_an_unpublished_port_is_reached_if_the_container_is_on_a_network_of_other_hosts(
    ips: tuple[str, ...], network: HostNetwork, expected: list[str]
) -> None:
    reach = reachability(made(port("", host_port=0), ips=ips), network)
    assert where(reach, network) == expected


def test_a_routable_instance_is_reached_at_its_own_address() -> None:
    reach = reachability(made(port("", host_port=0), ips=("10.42.0.7",), traits=ROUTED), HOST)
    (endpoint,) = reach.endpoints
    assert (endpoint.addresses, endpoint.interfaces) == (("10.42.0.7",), ())
    waiting = reachability(made(port("", host_port=0), traits=ROUTED), HOST)
    assert waiting.unreachable[0].is_held


@pytest.mark.parametrize(
    ("ips", "expected"),
    [
        (("172.17.0.9",), ()),
        (("172.17.0.9", "192.0.2.77"), ("192.0.2.77",)),
        (("172.17.0.9", "10.42.0.7"), ("10.42.0.7",)),
        (("2a00:1:2::9",), ("2a00:1:2::9",)),
        (("fd00:1::9",), ()),
    ],
)
def test_a_private_address_behind_this_host_is_not_reached_from_elsewhere(
    ips: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    veth = link("ve-web", "2a00:1:2::1/64", "fd00:1::1/64", kind=LinkKind.CONTAINERS, bridge=True)
    network = HostNetwork((*HOST.links, veth))
    machine = made(port("", host_port=0), ips=ips, traits=ROUTED)
    reach = reachability(machine, network)
    assert tuple(one for way in reach.endpoints for one in way.addresses) == expected
    assert expected or "so only this host reaches it" in reach.unreachable[0].reason
    assert targets(machine, machine.ports[0], network)


def test_binds_of_one_port_are_one_endpoint() -> None:
    two = made(port("192.0.2.10"), port("198.51.100.10"), port("127.0.0.1"))
    (endpoint,) = reachability(two, HOST).endpoints
    assert endpoint.addresses == ("192.0.2.10", "198.51.100.10")
    assert endpoint.interfaces == ("lan0", "lan1")
    (wide,) = reachability(made(port("192.0.2.10"), port()), HOST).endpoints
    assert (wide.addresses, wide.interfaces) == ((), ())


def test_a_port_published_twice_is_one_service_and_the_one_that_most_hosts_reach_is_first() -> None:
    v6 = port("::", host_port=50191, is_v6only=True)
    both = reachability(made(v6, port(host_port=50195)), HOST)
    assert [one.port for one in both.endpoints] == [50195]
    assert [one.port for one in both.others] == [50191]
    near = reachability(made(port("192.0.2.10", host_port=1), port(host_port=2)), HOST)
    assert [one.port for one in near.endpoints] == [2]


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        ([("IPAddressDeny", "any")], []),
        ([("IPAddressDeny", "any"), ("IPAddressAllow", "localhost")], []),
        ([("IPAddressDeny", "any"), ("IPAddressAllow", "192.0.2.0/24")], ["lan0"]),
        ([("IPAddressDeny", "any"), ("IPAddressAllow", "192.0.2.5")], ["lan0"]),
        ([("IPAddressDeny", "10.0.0.0/8")], ["lan0", "lan1", "usb0"]),
        ([("IPAddressDeny", "any"), ("IPAddressDeny", "")], ["lan0", "lan1", "usb0", "wg0"]),
        ([("IPAddressDeny", "nonsense 198.51.100.0/24")], ["lan0", "usb0", "wg0"]),
        ([("RestrictNetworkInterfaces", "lan1 lo")], ["lan1"]),
        ([("RestrictNetworkInterfaces", "~lan1")], ["lan0", "usb0", "wg0"]),
        ([("RestrictNetworkInterfaces", "lo")], []),
    ],
)
def test_the_firewall_of_a_unit_keeps_networks_out(
    assignments: list[tuple[str, str]], expected: list[str]
) -> None:
    settings = FilterSettings()
    for key, value in assignments:
        settings.assign(key, value)
    unit = made(port(source=LISTENING), traits=UNIT, address_filter=settings.result())
    reach = reachability(unit, HOST)
    assert [one.split()[0] for one in where(reach)] == expected
    if not expected:
        assert "keeps other hosts out" in reach.unreachable[0].reason


@pytest.mark.parametrize(
    ("deny", "allow", "expected"),
    [
        (("::/0",), (), {"lan0 192.0.2.10", "lan1 198.51.100.10"}),
        (("0.0.0.0/0",), (), {"lan0 2001:db8::10"}),
        (("0.0.0.0/0", "::/0"), ("192.0.2.0/24",), {"lan0 192.0.2.10"}),
        (
            ("0.0.0.0/0", "::/0"),
            ("192.0.2.0/24", "2001:db8::/64"),
            {"lan0 192.0.2.10", "lan0 2001:db8::10"},
        ),
        (("2001:db8::/64",), (), {"lan0 192.0.2.10", "lan1 198.51.100.10"}),
        (("2001:db8::5",), (), {"lan0 192.0.2.10", "lan0 2001:db8::10", "lan1 198.51.100.10"}),
    ],
)
def test_the_firewall_of_a_unit_keeps_families_out(
    deny: tuple[str, ...], allow: tuple[str, ...], expected: set[str]
) -> None:
    rules = AddressFilter(deny=deny, allow=allow)
    unit = made(port("::", source=LISTENING), traits=UNIT, address_filter=rules)
    found = {
        f"{one.interface} {one.address}"
        for endpoint in reachability(unit, HostNetwork((LAN, LO, OFFICE))).endpoints
        for one in places(endpoint, HostNetwork((LAN, LO, OFFICE)))
    }
    assert found == expected


def test_a_changed_address_elsewhere_changes_no_endpoint() -> None:
    wide = made(port("::"))
    before = reachability(wide, HOST)
    assert reachability(wide, HostNetwork((LAN, LO))) == before
    assert reachability(wide, UNKNOWN) == before


def test_metadata_names_the_port_that_serves() -> None:
    two = made(port(), port(host_port=9090, container_port=90))
    named = replace(two, metadata=KoiMetadata(port=90))
    reach = reachability(named, HOST)
    assert [one.port for one in reach.endpoints] == [9090]
    assert "names 90" in reach.unreachable[0].reason


ports = st.lists(
    st.builds(
        port,
        st.sampled_from(["0.0.0.0", "::", "192.0.2.10", "127.0.0.1", "172.17.0.1", "x", ""]),
        st.sampled_from([0, 8080, 9090]),
        st.sampled_from([80, 443]),
        st.sampled_from(list(PortSource)),
        interface=st.sampled_from(["", "lan0", "lo"]),
        is_v6only=st.booleans(),
    ),
    max_size=6,
)


@given(ports, st.randoms())
def test_the_order_of_the_ports_does_not_matter(
    mappings: list[PortMapping], random: object
) -> None:
    shuffled = list(mappings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reachability(made(*shuffled), HOST).endpoints == (
        reachability(made(*mappings), HOST).endpoints
    )


@given(ports)
def test_each_port_is_reachable_or_has_a_reason(mappings: list[PortMapping]) -> None:
    reach = reachability(made(*mappings), HOST)
    reached = {f"{one.inside}/{one.protocol}" for one in reach.endpoints}
    refused = {one.port for one in reach.unreachable}
    assert reached | refused == {f"{one.container_port}/{one.protocol}" for one in mappings}
    assert not reached & refused
    for endpoint in reach.endpoints:
        assert list(places(endpoint, HOST)) or endpoint.families == {Family.IPV6}


# How this host itself reaches a port


@pytest.mark.parametrize(
    ("mapping", "network", "expected"),
    [
        (port(), HOST, ["127.0.0.1:8080"]),
        (port("::"), HOST, ["127.0.0.1:8080", "[::1]:8080"]),
        (port("::"), HostNetwork((LAN, LO4)), ["127.0.0.1:8080"]),
        (port("::", is_v6only=True), HOST, ["[::1]:8080"]),
        (port("127.0.0.1"), HOST, ["127.0.0.1:8080"]),
        (port("192.0.2.10"), HOST, ["192.0.2.10:8080"]),
        (port("172.17.0.1"), HOST, ["172.17.0.1:8080"]),
        (port(interface="lo"), HOST, ["127.0.0.1:8080"]),
        (port(), UNKNOWN, ["127.0.0.1:8080"]),
        (port("", host_port=0), HOST, ["172.17.0.2:80"]),
    ],
)
def test_this_host_asks_where_its_users_would_ask(
    mapping: PortMapping, network: HostNetwork, expected: list[str]
) -> None:
    instance = made(mapping, ips=("fe80::7", "172.17.0.2"))
    assert [one.text for one in targets(instance, mapping, network)] == expected


def test_a_check_past_the_proxy_asks_the_container_itself() -> None:
    published = made(port(), ips=("172.17.0.2",))
    assert targets(published, port(), HOST, past_proxy=True) == (Target("172.17.0.2", 80),)
    elsewhere = made(port(), ips=("10.88.0.2",))
    assert targets(elsewhere, port(), HOST, past_proxy=True) == (Target("127.0.0.1", 8080),)


@pytest.mark.parametrize("past_proxy", [False, True])
@pytest.mark.parametrize("address", ["10.42.0.7", "192.0.2.77", "172.17.0.2", "2001:db8::7"])
def test_a_pod_of_this_host_is_asked_itself_and_not_what_its_node_port_leads_to(
    address: str,
    past_proxy: bool,  # noqa: FBT001
) -> None:
    node_port = port("", host_port=30080)
    pod = made(node_port, ips=(address,), traits=LOCAL_POD)
    for network in (HOST, HostNetwork((LAN, LO4)), UNKNOWN):
        assert targets(pod, node_port, network, past_proxy=past_proxy) == (Target(address, 80),)
    on_host = made(port("", source=LISTENING), traits=LOCAL_POD)
    assert targets(on_host, on_host.ports[0], HOST)[0] == Target("127.0.0.1", 8080)


def test_a_pod_of_another_host_is_not_asked() -> None:
    away = made(port("", host_port=0), ips=("10.42.1.7",), traits=POD)
    with pytest.raises(NotFromHere, match="on no network of this host"):
        targets(away, away.ports[0], HOST)
    on_lan = made(port("", host_port=0), ips=("192.0.2.77",), traits=POD)
    with pytest.raises(NotFromHere, match="is on lan0 on another host"):
        targets(on_lan, on_lan.ports[0], HOST)


@pytest.mark.parametrize(
    ("mapping", "ips", "reason"),
    [
        (port("", source=DECLARED), (), "nothing of it listens"),
        (port(interface="lan0"), (), "bound to lan0"),
        (port("192.0.2.99"), (), "no interface"),
        (port("169.254.7.1"), (), "one network only"),
        (port("::", is_v6only=True), (), "no loopback address"),
        (port("", host_port=0), ("192.0.2.77",), "macvlan or ipvlan"),
        (port("", host_port=0), ("10.88.0.2",), "on no network of this host"),
        (port("", host_port=0), (), "no address of the instance"),
    ],
)
def test_what_this_host_can_not_ask_is_not_known(
    mapping: PortMapping, ips: tuple[str, ...], reason: str
) -> None:
    network = HostNetwork((DOCKER, LAN, LO4, OFFICE, USB, VPN))
    with pytest.raises(NotFromHere, match=reason):
        targets(made(mapping, ips=ips), mapping, network)


def test_a_firewall_that_keeps_this_host_out_is_not_an_unhealthy_unit() -> None:
    deny = AddressFilter(deny=("0.0.0.0/0", "::/0"), allow=("192.0.2.0/24",))
    unit = made(port(), traits=UNIT, address_filter=deny)
    with pytest.raises(NotFromHere, match="IPAddressDeny="):
        targets(unit, port(), HOST)
    local = replace(unit, address_filter=replace(deny, allow=("127.0.0.0/8",)))
    assert targets(local, port(), HOST) == (Target("127.0.0.1", 8080),)


@pytest.mark.parametrize(
    ("names", "denies", "is_checked"),
    [
        (("lan0",), False, False),
        (("lan0", "lo"), False, True),
        (("lan0",), True, True),
        (("lo",), True, False),
        ((), False, True),
    ],
)
def test_a_check_goes_through_the_loopback_interface(
    names: tuple[str, ...],
    denies: bool,  # noqa: FBT001
    is_checked: bool,  # noqa: FBT001
) -> None:
    rules = AddressFilter(interfaces=names, denies_interfaces=denies)
    for bind in (port(), port("192.0.2.10")):
        unit = made(bind, traits=UNIT, address_filter=rules)
        if is_checked:
            assert targets(unit, bind, HOST)
            continue
        with pytest.raises(NotFromHere, match="RestrictNetworkInterfaces="):
            targets(unit, bind, HOST)


@pytest.mark.parametrize("of", [(Family.IPV4,), (Family.IPV6,), tuple(Family)])
def test_thousands_of_endpoints_share_a_set_of_families(of: Sequence[Family]) -> None:
    assert family_set(of) == set(of)
    assert family_set(iter(of)) is family_set(of)


def test_an_endpoint_without_a_family_is_not_made() -> None:
    endpoint = Endpoint(port=1, protocol=Protocol.TCP, inside=1)
    assert endpoint.family is None
    assert replace(endpoint, families=frozenset({Family.IPV6})).family is Family.IPV6
