"""What is handed on is all that the agent reads, and nothing that it does not."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.docker.containers import inspected, listed
from koi_agent.backends.docker.events import event as read_event
from koi_agent.gate import answers, upstream
from koi_agent.gate.requests import Kind
from tests.unit.engine_answers import Record, pairs, recordings

RECORDED = [
    pytest.param(*pair, id=f"{path.stem}:{pair[2]['Name'].lstrip('/')}")
    for path in recordings()
    for pair in pairs(path)
]


def through(kind: Kind, said: Any) -> Any:
    return json.loads(answers.handed_on(kind, json.dumps(said).encode()))


def listed_through(record: Any) -> Any:
    return json.loads(answers.listed(record))


@pytest.mark.parametrize(("backend", "record", "inspection"), RECORDED)
def test_the_agent_reads_the_same_through_the_gate(
    backend: str, record: Record, inspection: Record
) -> None:
    seen = inspected(through(Kind.INSPECT, inspection), backend)
    assert seen == inspected(inspection, backend)
    element = listed_through(record)
    assert listed(element, backend, None) == listed(record, backend, None)
    assert listed(element, backend, seen) == listed(record, backend, seen)


SECRET = "s3cret"
LABELS = {"koi.enable": "true", "com.example.token": SECRET, "traefik.enable": "true"}
INSPECTION = {
    "Id": "a",
    "Path": SECRET,
    "Args": [SECRET],
    "State": {
        "Status": "running",
        "Error": SECRET,
        "Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": SECRET}]},
    },
    "Mounts": [{"Source": SECRET}],
    "Config": {
        "Env": [f"TOKEN={SECRET}", "KOI_MDNS_ANNOUNCE=web", f"KOI_MDNS={SECRET}"],
        "Cmd": [SECRET],
        "Entrypoint": [SECRET],
        "Labels": LABELS,
        "Healthcheck": {"Test": ["CMD", SECRET]},
    },
    "HostConfig": {"Binds": [SECRET], "NetworkMode": "bridge"},
}


def test_no_secret_comes_through() -> None:
    seen = through(Kind.INSPECT, INSPECTION)
    assert SECRET not in json.dumps(seen)
    assert seen["Config"]["Env"] == ["KOI_MDNS_ANNOUNCE=web"]
    assert seen["Config"]["Labels"].keys() == {"koi.enable", "traefik.enable"}
    assert seen["State"]["Health"] == {"Status": "unhealthy", "Log": [{"ExitCode": 1}]}
    one = {"Id": "a", "Command": SECRET, "Labels": LABELS, "Mounts": [{"Source": SECRET}]}
    assert SECRET not in json.dumps(listed_through(one))
    info = {"CgroupDriver": "systemd", "HttpProxy": f"http://u:{SECRET}@proxy"}
    assert through(Kind.INFO, info) == {"CgroupDriver": "systemd"}
    version = {"Version": "1", "Components": [{"Name": "Engine", "Details": {"a": SECRET}}]}
    assert SECRET not in json.dumps(through(Kind.VERSION, version))


def test_events_are_filtered_too() -> None:
    said = {
        "Type": "container",
        "Action": "start",
        "timeNano": 5,
        "from": SECRET,
        "Actor": {"ID": "a", "Attributes": {"name": "web", "image": "i"} | LABELS},
    }
    line = answers.event(json.dumps(said).encode())
    assert SECRET not in line.decode()
    seen, whole = read_event(line), read_event(json.dumps(said).encode())
    assert seen
    assert whole
    assert (seen.id, seen.name, seen.time) == (whole.id, whole.name, whole.time)
    assert seen.labels == {"koi.enable": "true", "traefik.enable": "true"}
    assert answers.event(b"no json\n") == b"\n"


@pytest.mark.parametrize("said", [None, 5, []])
def test_what_is_no_object_is_handed_on_as_nothing(said: Any) -> None:
    for kind in (Kind.INSPECT, Kind.INFO, Kind.VERSION):
        assert through(kind, said) is None
    assert listed_through(said) is None
    assert answers.event(json.dumps(said).encode()) == b""


def test_a_field_of_another_shape_is_handed_on_as_nothing() -> None:
    said = {"State": 5, "Config": {"Labels": [1], "Image": {}}, "NetworkSettings": {"Ports": [1]}}
    assert through(Kind.INSPECT, said) == {
        "State": None,
        "Config": {"Labels": None, "Image": None},
        "NetworkSettings": {"Ports": None},
    }
    assert listed_through({"Ports": {"a": 1}, "Names": 5}) == {"Ports": None, "Names": None}
    assert answers.event(json.dumps(said).encode()) == b""


SECRET_LABELS = {
    "traefik.http.middlewares.a.basicauth.users": SECRET,
    "traefik.http.middlewares.a.headers.customrequestheaders.Authorization": SECRET,
    "caddy.tls.dns": SECRET,
    "caddy.basicauth.user": SECRET,
    "caddyfoo": SECRET,
    "com.docker.compose.project.working_dir": SECRET,
    "koi": SECRET,
}
READ = {
    "koi.name": "a",
    "traefik.http.routers.a.rule": "Host(`a`)",
    "traefik.http.services.a.loadbalancer.server.port": "80",
    "caddy_0": "a.example",
    "caddy.handle.0_reverse_proxy": "{{upstreams 80}}",
    "com.docker.compose.container-number": "1",
    "PODMAN_SYSTEMD_UNIT": "a.service",
}


def test_of_labels_only_those_come_through_that_are_read() -> None:
    labels = READ | SECRET_LABELS
    assert listed_through({"Labels": labels})["Labels"] == READ
    assert through(Kind.INSPECT, {"Config": {"Labels": labels}})["Config"]["Labels"] == READ


@pytest.mark.parametrize(
    ("said", "action"),
    [
        ({"Type": "container", "Action": "start"}, "start"),
        ({"Type": "network", "Action": "connect"}, "connect"),
        ({"Type": "container", "status": "died"}, "died"),
        ({"Type": "container", "Action": "health_status: healthy"}, "health_status: healthy"),
        ({"Type": "container", "Action": "health_status: s3cret"}, "health_status"),
        ({"Type": "container", "Action": "exec_start: sh -c s3cret"}, ""),
        ({"Type": "container", "Action": "start: s3cret"}, "start"),
        ({"Type": "image", "Action": "start"}, ""),
        ({"Type": "secret", "Action": "remove"}, ""),
        ({"Action": "start"}, ""),
        ({"Type": "container", "Action": 5}, ""),
        ({"Type": ["container"], "Action": "start"}, ""),
        ([], ""),
    ],
)
def test_of_events_only_those_come_through_that_are_asked_for(said: Any, action: str) -> None:
    line = answers.event(json.dumps(said).encode())
    assert (json.loads(line)["Action"] if line else "") == action


async def elements_of(body: bytes, size: int) -> list[object]:
    reader = asyncio.StreamReader()
    for at in range(0, len(body), size):
        reader.feed_data(body[at : at + size])
    reader.feed_eof()
    return [element async for element in pieces(reader, size)]


async def pieces(reader: asyncio.StreamReader, size: int) -> AsyncIterator[object]:
    """Read as from a socket that gives so much at a time."""

    class Slow(asyncio.StreamReader):
        async def read(self, n: int = -1) -> bytes:
            return await reader.read(min(n, size) if n > 0 else size)

    async with contextlib.aclosing(upstream.elements(Slow())) as found:
        async for element in found:
            yield element


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.integers(), max_size=2)),
    st.integers(1, 40),
)
def test_a_list_is_read_whole_however_it_is_cut(said: list[object], size: int) -> None:
    for text in (json.dumps(said), f" {json.dumps(said)}\n", json.dumps(said, ensure_ascii=False)):
        body = text.encode(errors="replace")
        assert asyncio.run(elements_of(body, size)) == json.loads(body)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1", b"{}", b"nothing", b"[1]x", b"[1] [2]", b"[" * 5000, b'["a]']
)
def test_what_is_no_list_is_told_of(body: bytes) -> None:
    with pytest.raises(upstream.NoAnswer):
        asyncio.run(elements_of(body, 3))


def test_an_empty_list_may_be_called_null() -> None:
    assert asyncio.run(elements_of(b"null\n", 3)) == []
