"""The DNS-SD service type of a port."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from koi_agent.core.instance import (
    Instance,
    KoiMetadata,
    PortMapping,
    PortMetadata,
    PortSource,
    Protocol,
)
from koi_agent.core.metadata.names import service_type
from koi_agent.core.metadata.service_types import FALLBACK, WELL_KNOWN, http_port, resolve
from tests.unit.things import container

NO_METADATA = KoiMetadata()

TCP = """
80 http  3000 http  5000 http  8000 http  8080 http  8888 http  9000 http  443 https  8443 https
3306 mysql  5432 postgresql  6379 redis  27017 mongodb  9042 cassandra  26257 cockroachdb
1883 mqtt  5672 amqp  9092 kafka  4222 nats  9090 prometheus  3100 loki  4317 otel-grpc
4318 otel-http  9200 elasticsearch  16686 jaeger  53 dns  22 ssh  25 smtp  587 smtp  143 imap
993 imap  389 ldap  636 ldap  5900 vnc  5901 vnc  3389 rdp  8384 syncthing
"""
UDP = "53 dns  5353 mdns  1900 ssdp  51820 wireguard"


def test_the_table_equals_the_one_of_koi() -> None:
    expected = {
        (int(port), protocol): f"_{name}._{protocol}"
        for protocol, table in ((Protocol.TCP, TCP), (Protocol.UDP, UDP))
        for port, name in re.findall(r"(\d+) (\S+)", table)
    }
    assert expected == WELL_KNOWN


def test_every_default_type_is_a_valid_service_type() -> None:
    for known in (*WELL_KNOWN.values(), *FALLBACK.values()):
        assert service_type(known) == known


@pytest.mark.parametrize(
    ("port", "protocol", "expected"),
    [
        (80, Protocol.TCP, "_http._tcp"),
        (80, Protocol.UDP, "_koi-managed._udp"),
        (53, Protocol.UDP, "_dns._udp"),
        (12345, Protocol.TCP, "_koi-managed._tcp"),
    ],
)
def test_a_port_without_metadata_has_the_type_of_its_number(
    port: int, protocol: Protocol, expected: str
) -> None:
    assert resolve(port, protocol, NO_METADATA, 0) == expected


def test_a_type_in_metadata_overrides_the_port_number() -> None:
    assert resolve(80, Protocol.TCP, KoiMetadata(service_type="_ipp._tcp"), 0) == "_ipp._tcp"


HTTP_CHECKS = [
    ({"health_path": "/"}, "_http._tcp"),
    ({"health_kind": "http"}, "_http._tcp"),
    ({"health_path": "/", "health_scheme": "https"}, "_https._tcp"),
    ({"health_kind": "http", "health_scheme": "http"}, "_http._tcp"),
]


def instance(ports: Sequence[PortMapping], metadata: KoiMetadata) -> Instance:
    return replace(container("a"), ports=tuple(ports), metadata=metadata)


def mapping(inside: int, outside: int = 0, protocol: Protocol = Protocol.TCP) -> PortMapping:
    return PortMapping(
        container_port=inside,
        host_port=outside,
        protocol=protocol,
        host_ip="",
        source=PortSource.PUBLISHED,
    )


@pytest.mark.parametrize(("fields", "expected"), HTTP_CHECKS)
@pytest.mark.parametrize("number", [8123, 5432, 443])
def test_a_port_that_is_checked_by_http_has_its_type(
    fields: dict[str, Any], expected: str, number: int
) -> None:
    metadata = KoiMetadata(**fields)
    http = http_port(instance([mapping(number)], metadata))
    assert resolve(number, Protocol.TCP, metadata, http) == expected
    for typed in (
        replace(metadata, service_type="_ipp._tcp"),
        replace(metadata, ports=(((number, Protocol.TCP), PortMetadata(type="_ipp._tcp")),)),
    ):
        assert resolve(number, Protocol.TCP, typed, http) == "_ipp._tcp"


@pytest.mark.parametrize(
    "fields", [{}, {"health_kind": "tcp"}, {"health_kind": "tcp", "health_path": "/"}]
)
def test_without_a_check_by_http_the_type_is_that_of_the_number(fields: dict[str, Any]) -> None:
    assert http_port(instance([mapping(8123)], KoiMetadata(**fields))) == 0


def test_only_the_port_that_is_checked_is_http() -> None:
    metadata = KoiMetadata(health_path="/")
    ports = [mapping(70), mapping(9999, 1), mapping(8123, 2), mapping(53, 53, Protocol.UDP)]
    assert http_port(instance(ports, metadata)) == 8123
    assert http_port(instance(ports, replace(metadata, port=9999))) == 9999
    assert resolve(9999, Protocol.TCP, metadata, 8123) == "_koi-managed._tcp"
    assert resolve(8123, Protocol.UDP, metadata, 8123) == "_koi-managed._udp"


def test_the_type_of_a_port_overrides_the_type_of_the_instance() -> None:
    ports = (((80, Protocol.TCP), PortMetadata(type="_a._tcp")),)
    metadata = KoiMetadata(service_type="_b._tcp", ports=ports)
    assert resolve(80, Protocol.TCP, metadata, 0) == "_a._tcp"
    assert resolve(81, Protocol.TCP, metadata, 0) == "_b._tcp"


def test_a_type_of_another_protocol_does_not_apply() -> None:
    ports = (((53, Protocol.UDP), PortMetadata(type="_a._tcp")),)
    metadata = KoiMetadata(service_type="_b._tcp", ports=ports)
    assert resolve(53, Protocol.UDP, metadata, 0) == "_dns._udp"
