"""Lines of event streams, as Docker and Podman write them and malformed ones."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.docker.events import Event, parse_event, signal_number
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Health
from tests.unit.engine_records import ID, anything

TIME = 1_795_489_043_123_456_789
NETWORK = "de1e" * 16


def line(action: object, kind: object = "container", **fields: object) -> bytes:
    actor = {"ID": ID, "Attributes": fields.pop("attributes", {})}
    event = {"Type": kind, "Action": action, "Actor": actor, "timeNano": TIME}
    return json.dumps(event | fields).encode()


def parsed(action: str, kind: str = "container", **fields: object) -> Event:
    found = parse_event(line(action, kind, **fields))
    assert found
    return found


def test_a_start_has_what_is_published_of_a_container_that_ends_at_once() -> None:
    event = parsed("start", attributes={"name": "web", "image": "nginx:1", "koi.enable": "true"})
    assert (event.action, event.id, event.time) == ("start", ID, TIME)
    assert (event.name, event.image, dict(event.labels)) == (
        "web",
        "nginx:1",
        {"koi.enable": "true"},
    )


@pytest.mark.parametrize(
    ("spelled", "action"),
    [(word, word) for word in ("start", "die", "kill", "stop", "destroy", "pause", "unpause")]
    + [(word, word) for word in ("rename", "update", "oom", "restart")]
    + [("died", "die"), ("remove", "destroy"), ("health_status: healthy", "health_status")],
)
def test_docker_and_podman_have_the_same_actions(spelled: str, action: str) -> None:
    assert parsed(spelled).action == action


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("exec_create: curl -H 'token: secret'", "container"),
        ("exec_die", "container"),
        ("create", "container"),
        ("connect", "container"),
        ("start", "network"),
        ("destroy", "network"),
        ("start", "volume"),
        ("remove", "image"),
        ("", ""),
        (["start"], "container"),
        ("start", {"container": 1}),
    ],
)
def test_other_events_are_ignored(action: object, kind: object) -> None:
    assert parse_event(line(action, kind)) is None


def test_the_key_of_old_engines_is_read() -> None:
    event = {"Type": "container", "status": "die", "Actor": {"ID": ID, "Attributes": {}}}
    assert parse_event(json.dumps(event).encode()) == Event(action="die", id=ID)


def test_network_events_name_the_container() -> None:
    attributes = {"container": ID, "name": "front", "type": "bridge"}
    actor = {"ID": NETWORK, "Attributes": attributes}
    docker = parsed("connect", "network", Actor=actor)
    podman = parsed("disconnect", "network", attributes={"name": "web", "network": "front"})
    assert (docker.action, docker.id, docker.name) == ("connect", ID, "")
    assert (podman.action, podman.id) == ("disconnect", ID)


@pytest.mark.parametrize(
    ("action", "fields", "health"),
    [
        ("health_status: healthy", {}, Health.HEALTHY),
        ("health_status: unhealthy", {}, Health.UNHEALTHY),
        ("health_status:starting", {}, Health.STARTING),
        ("health_status", {"HealthStatus": "healthy"}, Health.HEALTHY),
        ("health_status", {"health_status": "unhealthy"}, Health.UNHEALTHY),
        ("health_status", {"attributes": {"health_status": "healthy"}}, None),
        ("health_status", {}, None),
        ("health_status: \x1b[31m", {"HealthStatus": ["healthy"]}, None),
        ("start", {"HealthStatus": "healthy"}, None),
    ],
)
def test_health_is_read_from_each_spelling(
    action: str, fields: dict[str, Any], health: Health | None
) -> None:
    assert parsed(action, **fields).health is health


@pytest.mark.parametrize(
    ("spelled", "number"),
    [
        ("15", 15),
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigterm", 15),
        ("1", 1),
        ("64", 64),
        ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63),
        ("SIGRTMIN", 34),
        ("RTMAX+1", 0),
        ("TERM+1", 0),
        ("0", 0),
        ("65", 0),
        ("-9", 0),
        ("999999999", 0),
        ("RTMIN+99", 0),
        ("SIG", 0),
        ("", 0),
        ("SIG_BLOCK", 0),
        ("\x1b[31m", 0),
        ("9" * 5000, 0),
    ],
)
def test_signals_are_numbers_or_words(spelled: str, number: int) -> None:
    assert signal_number(spelled) == number
    assert parsed("kill", attributes={"signal": spelled}).signal == number


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"exitCode": "137"}, 137),
        ({"containerExitCode": "0"}, 0),
        ({"exitCode": "-1"}, -1),
        ({"exitCode": 137}, None),
        ({"exitCode": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_an_exit_code_is_read_from_each_spelling(
    attributes: dict[str, object], code: int | None
) -> None:
    assert parsed("die", attributes=attributes).exit_code == code


@pytest.mark.parametrize("time", [None, "1", -5, 1.5, True, 2**63, 10**400])
def test_a_malformed_time_is_zero(time: object) -> None:
    assert parsed("die", timeNano=time).time == 0


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\n",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b'"start"',
        b"null",
        b'{"Type":"container","Action":"start"}',
        b'{"Type":"container","Action":"start","Actor":[]}',
        line("start", Actor={"ID": 5, "Attributes": {}}),
        line("start", Actor={"ID": "", "Attributes": {}}),
        line("start", Actor={"ID": "../../etc", "Attributes": {}}),
        line("start", Actor={"ID": "a" * 129, "Attributes": {}}),
        line("start", Actor={"ID": "a\n", "Attributes": {}}),
        line("connect", "network", attributes={"container": "\x1b[31m"}),
        line("connect", "network", attributes={"container": None}),
    ],
)
def test_a_malformed_line_is_bad_input(broken: bytes) -> None:
    with pytest.raises(BadInput):
        parse_event(broken)


def test_only_the_text_labels_of_a_start_are_kept() -> None:
    attributes = {"koi.enable": True, "a": ["b"], "exitCode": "1", "c": "d"}
    assert parsed("start", attributes=attributes).labels == {"c": "d"}
    assert parsed("die", attributes=attributes).labels == {}


@given(st.binary() | anything.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_raise_anything_but_bad_input(data: bytes) -> None:
    with suppress(BadInput):
        parse_event(data)


@given(
    st.fixed_dictionaries(
        {"Type": st.sampled_from(["container", "network"])},
        optional={
            "Action": st.sampled_from(["start", "kill", "die", "health_status", "connect"])
            | anything,
            "timeNano": anything,
            "HealthStatus": anything,
            "Actor": anything
            | st.fixed_dictionaries(
                {},
                optional={
                    "ID": st.just(ID) | anything,
                    "Attributes": anything
                    | st.dictionaries(
                        st.sampled_from(["name", "image", "signal", "exitCode", "container"]),
                        anything,
                    ),
                },
            ),
        },
    )
)
def test_no_value_at_any_place_raises_anything_but_bad_input(event: dict[str, Any]) -> None:
    try:
        found = parse_event(json.dumps(event).encode())
    except BadInput:
        return
    if found:
        assert isinstance(found.name + found.image + found.id, str)
        assert found.signal in range(65)
