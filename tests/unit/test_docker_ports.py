"""Ports of containers: from lists and inspections, in any order, and from metadata."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.docker.ports import (
    Ports,
    ports_from_inspection,
    ports_from_list,
    ports_in_metadata,
    unpublished,
)
from koi_agent.core.instance import KoiMetadata, PortMapping, PortMetadata, Protocol
from tests.unit.engine_records import port

UDP = Protocol.UDP
BINDS = [("127.0.0.1", 1), ("127.0.0.2", 1), ("0.0.0.0", 1), ("::", 1), ("::1", 2), ("", 2)]

bindings = st.lists(
    st.tuples(
        st.sampled_from([80, 443]), st.sampled_from(["tcp", "udp", "sctp"]), st.sampled_from(BINDS)
    )
)
exposures = st.lists(
    st.tuples(st.sampled_from([80, 9000]), st.sampled_from(["tcp", "udp", "sctp"]))
)


def in_list(*ports: dict[str, Any]) -> Ports:
    return ports_from_list({"Ports": list(ports)})


def bind(at: object, host_port: object = 18080, container_port: object = 80) -> dict[str, Any]:
    return {"IP": at, "PrivatePort": container_port, "PublicPort": host_port, "Type": "tcp"}


@pytest.mark.parametrize(
    ("addresses", "published_at"),
    [
        (["0.0.0.0", "::"], ["::"]),
        (["0.0.0.0"], ["0.0.0.0"]),
        (["::"], ["::"]),
        ([""], ["0.0.0.0"]),
        ([None], ["0.0.0.0"]),
        (["127.0.0.1", "0.0.0.0"], ["0.0.0.0"]),
        (["::1", "127.0.0.1"], ["127.0.0.1", "::1"]),
        (["127.0.0.1", "127.0.0.1"], ["127.0.0.1"]),
    ],
)
def test_wildcard_binds_of_both_families_are_one_and_replace_addresses(
    addresses: list[object], published_at: list[str]
) -> None:
    published = in_list(*map(bind, addresses)).published
    only = addresses == ["::"]
    assert published == tuple(replace(port(80, 18080, one), is_v6only=only) for one in published_at)


def test_a_port_published_twice_is_two() -> None:
    both = in_list(bind("::", 18081), bind("::", 18080), bind("0.0.0.0", 18080))
    second = replace(port(80, 18081, "::"), is_v6only=True)
    assert both.published == (port(80, 18080, "::"), second)


@pytest.mark.parametrize(
    "broken",
    [
        bind("\x1b[31m"),
        bind("1.2.3.4\x00"),
        bind("\udc80"),
        bind(["::"]),
        bind("fe80::1%eth0"),
        bind("::", "18080"),
        bind("::", -1),
        bind("::", 65536),
        {**bind("::"), "PublicPort": True},
        bind("::", 1.0),
        bind("::", 18080, 0),
        bind("::", 18080, "80"),
    ],
)
def test_a_malformed_bind_is_not_published(broken: dict[str, Any]) -> None:
    assert in_list(broken, bind("0.0.0.0", 5)).published == (port(80, 5),)


@pytest.mark.parametrize("host_port", ["", "0", "65536", "80x", "٣", None, 18080, ["80"]])
def test_an_inspection_without_a_host_port_publishes_nothing(host_port: object) -> None:
    assert (
        ports_from_inspection({"80/tcp": [{"HostIp": "", "HostPort": host_port}]}, {}).published
        == ()
    )


@pytest.mark.parametrize("spelled", ["0/tcp", "65536/tcp", "80/", "/tcp", "80/TCP", "x", "-1", "٣"])
def test_a_malformed_port_is_not_exposed(spelled: str) -> None:
    ports = ports_from_inspection({spelled: [{"HostPort": "1"}]}, {spelled: {}})
    assert ports == Ports(published=(), exposed=frozenset(), unsupported=())


def test_a_port_without_a_protocol_is_tcp() -> None:
    assert ports_from_inspection({}, {"80": {}}).exposed == {(80, Protocol.TCP)}


def test_unsupported_protocols_are_named() -> None:
    sctp = {"PrivatePort": 5000, "PublicPort": 5000, "Type": "sctp"}
    assert in_list(sctp).unsupported == ("5000/sctp",)
    assert in_list(sctp).published == ()
    assert ports_from_inspection({}, {"5000/sctp": {}}).unsupported == ("5000/sctp",)
    hostile = {"PrivatePort": 5000, "Type": "\x1b[31m"}
    assert in_list(hostile, {"PrivatePort": 5}).unsupported == ()


@given(bindings, exposures, st.randoms())
def test_lists_and_inspections_have_equal_ports_in_any_order(
    binds: list[tuple[int, str, tuple[str, int]]], exposed: list[tuple[int, str]], random: Random
) -> None:
    """The two spellings of the same ports, as Docker makes them."""
    listed = [
        {"PrivatePort": number, "Type": protocol, "IP": at, "PublicPort": host_port}
        for number, protocol, (at, host_port) in binds
    ]
    bound = {(number, protocol) for number, protocol, _ in binds}
    listed += [{"PrivatePort": n, "Type": p} for n, p in exposed if (n, p) not in bound]
    in_inspection: dict[str, Any] = {f"{n}/{p}": None for n, p in exposed}
    for number, protocol, (at, host_port) in binds:
        key = f"{number}/{protocol}"
        bindings = in_inspection.get(key) or []
        in_inspection[key] = [*bindings, {"HostIp": at, "HostPort": str(host_port)}]
    config: dict[str, object] = {key: {} for key in in_inspection}
    random.shuffle(listed)
    assert in_list(*listed) == ports_from_inspection(in_inspection, config)


def declares(metadata: KoiMetadata, *published: PortMapping) -> set[tuple[int, str, int]]:
    found = unpublished(published, frozenset({(9000, Protocol.TCP)}), metadata)
    return {(one.container_port, str(one.protocol), one.host_port) for one in found}


def test_exposed_ports_that_are_not_published_are_declared() -> None:
    assert declares(KoiMetadata()) == {(9000, "tcp", 0)}
    assert declares(KoiMetadata(), port(9000, 80)) == set()


def test_ports_in_metadata_are_declared_unless_published() -> None:
    metadata = KoiMetadata(port=8080, ports=(((53, UDP), PortMetadata(name="dns")),))
    assert declares(metadata) == {(9000, "tcp", 0), (8080, "tcp", 0), (53, "udp", 0)}
    assert declares(metadata, port(8080, 80)) == {(9000, "tcp", 0), (53, "udp", 0)}
    assert declares(KoiMetadata(port=9000)) == {(9000, "tcp", 0)}
    assert ports_in_metadata(metadata) == {(8080, Protocol.TCP), (53, UDP)}
