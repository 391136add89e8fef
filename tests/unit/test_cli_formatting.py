"""Text that the command makes of records, and keys made of paths."""

from datetime import datetime
from typing import Any

import pytest

from koi_agent.cli import client, formatting
from koi_agent.publishers.dbus import names


@pytest.mark.parametrize("key", ["systemd:web.service", "incus:default/a:b", "docker:0123"])
def test_path_has_backend_and_id(key: str) -> None:
    assert ":".join(client.key_at(names.instance_path(key))) == key


def port(host_port: int, container_port: int, host_ip: str = "") -> dict[str, Any]:
    return {
        "host_port": host_port,
        "container_port": container_port,
        "protocol": "tcp",
        "host_ip": host_ip,
        "source": "published",
        "type": "_http._tcp",
    }


def test_port_bound_twice_is_listed_once_and_lower_ports_first() -> None:
    ports = [port(0, 9000), port(8080, 80, "0.0.0.0"), port(8080, 80, "::"), port(443, 443)]
    assert formatting.short_ports({"ports": ports}) == "8080->80/tcp,443/tcp,9000/tcp"


def test_port_has_address_source_and_type() -> None:
    ports = [port(8080, 80, "::"), port(443, 443, "0.0.0.0"), port(0, 9000)]
    assert list(formatting.long_ports({"ports": ports})) == [
        "[::]:8080 -> 80/tcp (published, _http._tcp)",
        "0.0.0.0:443/tcp (published, _http._tcp)",
        "9000/tcp (published, _http._tcp)",
    ]


def test_metadata_has_line_for_each_value() -> None:
    values = {"enable": True, "txt": {"path": "/"}, "ports": {"53/udp": {"type": "_dns._udp"}}}
    assert list(formatting.metadata(values)) == [
        "enable=true",
        "txt.path=/",
        "ports.53/udp.type=_dns._udp",
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59, "59s"),
        (61, "1min 1s"),
        (3600, "1h"),
        (3661, "1h 1min"),
        (90_000, "1d 1h"),
        (86_400 * 400, "1y 34d"),
    ],
)
def test_span_has_its_two_largest_units(seconds: int, expected: str) -> None:
    assert formatting.span(seconds) == expected


def test_time_has_its_age() -> None:
    stamp = formatting.now().isoformat()
    assert formatting.since(stamp).endswith("; 0s ago")
    assert datetime.fromisoformat(stamp).strftime("%Y-%m-%d") in formatting.since(stamp)
    assert formatting.since(None) == ""


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "-"), (True, "true"), (7, "7"), (["a", "b"], "a,b")]
)
def test_value_is_formatted_by_its_type(value: object, expected: str) -> None:
    assert formatting.value_of(value) == expected
