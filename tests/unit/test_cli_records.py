"""Records and words made of what the agent answers."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from koi_agent.cli import client, formatting, records
from koi_agent.core.key import Key
from koi_agent.publishers.dbus import names

KEYS = [
    *("id", "name", "ports", "ips", "metadata", "backend", "state", "discovered_at"),
    *("unit", "main_pid", "control_group", "health", "health_detail", "state_detail"),
    *("created_at", "stale", "invocation_id", "announcements"),
]


@pytest.mark.parametrize("key", ["systemd:web.service", "incus:default/a:b", "docker:0123"])
def test_a_path_tells_backend_and_id(key: str) -> None:
    assert ":".join(client.key_at(names.instance_path(Key.parse(key)))) == key


def test_an_agent_that_says_little_still_makes_a_whole_record() -> None:
    record = records.instance({})
    assert list(record) == KEYS
    assert record["stale"] is False


def test_values_of_another_type_than_ours_are_not_known() -> None:
    strange = dict.fromkeys(("Name", "Ports", "Metadata", "MainPID", "InvocationID"), 1.5)
    record = records.instance(strange)
    assert (record["name"], record["ports"], record["metadata"]) == ("", [], {})
    assert (record["main_pid"], record["invocation_id"]) == (None, None)


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [
        (0, None),
        (1, "1970-01-01T00:00:00.000001Z"),
        (1_700_000_000_123_456, "2023-11-14T22:13:20.123456Z"),
        (2**64 - 1, None),
    ],
)
def test_times_are_rfc3339(microseconds: int, expected: str | None) -> None:
    assert records.instance({"CreatedTimestamp": microseconds})["created_at"] == expected


@pytest.mark.parametrize(
    ("name", "key"),
    [("StateDetail", "state_detail"), ("MainPID", "main_pid"), ("Addresses", "ips")],
)
def test_properties_are_spelled_as_in_json(name: str, key: str) -> None:
    assert records.key_of(name) == key


def test_every_property_of_a_record_is_spelled_as_its_key() -> None:
    told = ("Id", "Name", "Unit", "ControlGroup", "Health", "StateDetail", "Stale", "InvocationID")
    assert {records.key_of(name) for name in told} <= set(KEYS)


def port(host_port: int, container_port: int, host_ip: str = "") -> dict[str, Any]:
    return {
        "host_port": host_port,
        "container_port": container_port,
        "protocol": "tcp",
        "host_ip": host_ip,
        "source": "published",
        "type": "_http._tcp",
    }


def test_a_port_bound_twice_is_listed_once_and_lower_ports_first() -> None:
    ports = [port(0, 9000), port(8080, 80, "0.0.0.0"), port(8080, 80, "::"), port(443, 443)]
    assert formatting.short_ports({"ports": ports}) == "8080->80/tcp,443/tcp,9000/tcp"


def test_a_port_is_shown_with_where_and_how_it_is_bound() -> None:
    ports = [port(8080, 80, "::"), port(443, 443, "0.0.0.0"), port(0, 9000)]
    assert list(formatting.long_ports({"ports": ports})) == [
        "[::]:8080 -> 80/tcp (published, _http._tcp)",
        "0.0.0.0:443/tcp (published, _http._tcp)",
        "9000/tcp (published, _http._tcp)",
    ]


def test_metadata_is_written_a_line_a_value() -> None:
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
def test_spans_have_their_two_largest_units(seconds: int, expected: str) -> None:
    assert formatting.span(seconds) == expected


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
def test_a_time_is_shown_in_the_local_zone_with_its_distance_from_now(
    name: str, local: str, zone: Callable[[str], None]
) -> None:
    zone(name)
    stamp = "2028-02-29T12:30:00+00:00"
    assert formatting.since(stamp).startswith(f"{local}; ")
    assert formatting.since(stamp).endswith(" ago")
    assert formatting.since(None) == ""


def test_a_distance_from_now_has_two_units() -> None:
    passed = timedelta(days=3, hours=2, minutes=30)
    assert formatting.ago((formatting.now() - passed).isoformat()) == "3d 2h ago"
