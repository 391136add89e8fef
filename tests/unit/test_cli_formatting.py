"""Text that the command makes of records, and keys made of paths."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from koi_agent.cli import client, formatting, times
from koi_agent.core.key import Key
from koi_agent.publishers.dbus import names


@pytest.mark.parametrize("key", ["systemd:web.service", "incus:default/a:b", "docker:0123"])
def test_path_has_backend_and_id(key: str) -> None:
    assert ":".join(client.key_at(names.instance_path(Key.parse(key)))) == key


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
    assert formatting.short_ports({"ports": ports}) == ["8080->80/tcp", "443/tcp", "9000/tcp"]


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
    assert times.span(seconds) == expected


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that sets the time zone; afterwards the zone is as before."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("UTC0", "Tue 2028-02-29 12:30:00 UTC"),
        ("<+14>-14", "Wed 2028-03-01 02:30:00 +14"),
        ("EST5", "Tue 2028-02-29 07:30:00 EST"),
    ],
)
def test_time_is_in_the_local_zone_with_its_age(
    name: str, local: str, zone: Callable[[str], None]
) -> None:
    zone(name)
    stamp = "2028-02-29T12:30:00+00:00"
    assert times.since(stamp).startswith(f"{local}; ")
    assert times.since(stamp).endswith(" ago")
    assert times.since(None) == ""


def test_age_has_two_units() -> None:
    passed = timedelta(days=3, hours=2, minutes=30)
    assert times.ago((times.now() - passed).isoformat()) == "3d 2h ago"


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "-"), (True, "true"), (7, "7"), (["a", "b"], "a,b")]
)
def test_value_is_formatted_by_its_type(value: object, expected: str) -> None:
    assert formatting.value_of(value) == expected
