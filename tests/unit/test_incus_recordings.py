"""Answers of Incus 6.0 and LXD 5.0, recorded while instances went through their lives."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from koi_agent.backends.incus.events import Event, parse_event
from koi_agent.backends.incus.forwards import Forwards
from koi_agent.backends.incus.guests import Guest, Place, parse_guest
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import InstanceState, PortMapping, PortSource, Protocol

RECORDINGS = Path(__file__).parents[1] / "runtimes/recordings"
SERVERS = ["incus", "lxd"]
PLACE = Place(backend="incus", member="", forwards=Forwards())
BOTH = pytest.mark.parametrize("server", SERVERS)


@cache
def recorded(server: str, name: str) -> Any:
    return json.loads((RECORDINGS / server / f"{name}.json").read_text())


def guests(server: str, name: str) -> dict[str, Guest]:
    records = recorded(server, name)["body"]["metadata"]
    found = [parse_guest(one, PLACE) for one in records]
    return {guest.instance.id: guest for guest in found}


def events(server: str) -> list[Event]:
    parsed = [parse_event(json.dumps(one).encode()) for one in recorded(server, "events-lifecycle")]
    return [event for event in parsed if isinstance(event, Event)]


@BOTH
def test_an_instance_has_what_the_list_says(server: str) -> None:
    found = guests(server, "instances-two-projects")
    assert sorted(found) == ["default/c1", "default/web2", "p2/other"]
    web = found["default/web2"].instance
    assert (web.name, web.project, web.image) == ("web2", "default", "busybox")
    assert web.state is InstanceState.RUNNING
    assert web.main_pid > 0
    assert web.created_at > 1_700_000_000_000_000
    assert [":" in address for address in found["default/c1"].instance.ips] == [False, True]
    assert found["default/web2"].run.startswith("2026-11-28T")


@BOTH
def test_metadata_comes_from_profile_and_instance(server: str) -> None:
    metadata = guests(server, "instances-with-proxy")["default/web2"].instance.metadata
    assert metadata.enable is True
    assert metadata.name == "Web"
    assert metadata.service_type == "_http._tcp"
    assert dict(metadata.txt) == {"from": "profile", "path": "/", "v": "2"}
    assert metadata.refused == ()


@BOTH
def test_a_proxy_device_is_a_published_port(server: str) -> None:
    assert guests(server, "instances-with-proxy")["default/web2"].instance.ports == (
        PortMapping(
            container_port=80,
            protocol=Protocol.TCP,
            host_port=18080,
            host_ip="127.0.0.1",
            source=PortSource.PUBLISHED,
        ),
    )


@BOTH
def test_a_frozen_instance_is_paused(server: str) -> None:
    guest = parse_guest(recorded(server, "frozen")["body"]["metadata"], PLACE)
    assert guest.instance.state is InstanceState.PAUSED
    assert guest.instance.state_detail == "frozen"


@BOTH
def test_events_are_read_and_those_of_snapshots_and_programs_are_not(server: str) -> None:
    found = events(server)
    assert {event.project for event in found} == {"default", "p2"}
    assert {event.name for event in found} == {"web", "web2", "other"}
    (renamed,) = [event for event in found if event.action == "instance-renamed"]
    assert (renamed.id, renamed.old_id) == ("default/web2", "default/web")
    assert not any("snapshot" in event.action or "exec" in event.action for event in found)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"},
        {"name": 5},
        {"project": "a/b"},
        {"project": "a\x1b"},
        {"state": None},
        {"status": None},
    ],
)
def test_a_record_without_its_main_fields_is_refused(change: dict[str, Any]) -> None:
    record = recorded("incus", "instances-two-projects")["body"]["metadata"][0]
    with pytest.raises(BadInput):
        parse_guest(record | change, PLACE)


def test_a_status_of_a_later_version_is_unknown() -> None:
    record = recorded("incus", "instances-two-projects")["body"]["metadata"][0]
    guest = parse_guest(record | {"status": "Dreaming"}, PLACE)
    assert guest.is_here
    assert guest.instance.state is InstanceState.UNKNOWN
    assert guest.instance.state_detail == "dreaming"


@pytest.mark.parametrize("source", ["", "/1.0/instances/", "/1.0/instances/%2e%2e", "/1.0/x/y"])
def test_an_event_of_no_instance_is_refused(source: str) -> None:
    event = {"type": "lifecycle", "metadata": {"action": "instance-started", "source": source}}
    with pytest.raises(BadInput):
        parse_event(json.dumps(event).encode())


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"a":' * 5000])
def test_an_event_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_event(text.encode())
