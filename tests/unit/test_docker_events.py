"""Lines of event streams, as Docker and Podman write them and as they never should."""

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


def line(action: object, kind: object = "container", **said: object) -> bytes:
    actor = {"ID": ID, "Attributes": said.pop("attributes", {})}
    shown = {"Type": kind, "Action": action, "Actor": actor, "timeNano": TIME}
    return json.dumps(shown | said).encode()


def heard(action: str, kind: str = "container", **said: object) -> Event:
    found = parse_event(line(action, kind, **said))
    assert found
    return found


def test_a_start_brings_all_that_is_needed_for_who_is_gone_at_once() -> None:
    said = heard("start", attributes={"name": "web", "image": "nginx:1", "koi.enable": "true"})
    assert (said.action, said.id, said.time) == ("start", ID, TIME)
    assert (said.name, said.image, dict(said.labels)) == ("web", "nginx:1", {"koi.enable": "true"})


@pytest.mark.parametrize(
    ("spelled", "action"),
    [(word, word) for word in ("start", "die", "kill", "stop", "destroy", "pause", "unpause")]
    + [(word, word) for word in ("rename", "update", "oom", "restart")]
    + [("died", "die"), ("remove", "destroy"), ("health_status: healthy", "health_status")],
)
def test_docker_and_podman_say_the_same(spelled: str, action: str) -> None:
    assert heard(spelled).action == action


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
def test_other_events_are_of_no_concern(action: object, kind: object) -> None:
    assert parse_event(line(action, kind)) is None


def test_of_old_engines_the_older_key_is_read() -> None:
    said = {"Type": "container", "status": "die", "Actor": {"ID": ID, "Attributes": {}}}
    assert parse_event(json.dumps(said).encode()) == Event(action="die", id=ID)


def test_networks_name_the_container_in_their_own_ways() -> None:
    attributes = {"container": ID, "name": "front", "type": "bridge"}
    actor = {"ID": NETWORK, "Attributes": attributes}
    docker = heard("connect", "network", Actor=actor)
    podman = heard("disconnect", "network", attributes={"name": "web", "network": "front"})
    assert (docker.action, docker.id, docker.name) == ("connect", ID, "")
    assert (podman.action, podman.id) == ("disconnect", ID)


@pytest.mark.parametrize(
    ("action", "said", "health"),
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
def test_health_is_read_from_all_spellings(
    action: str, said: dict[str, Any], health: Health | None
) -> None:
    assert heard(action, **said).health is health


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
    assert heard("kill", attributes={"signal": spelled}).signal == number


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
def test_an_exit_code_is_told_where_there_is_one(
    attributes: dict[str, object], code: int | None
) -> None:
    assert heard("die", attributes=attributes).exit_code == code


@pytest.mark.parametrize("time", [None, "1", -5, 1.5, True, 2**63, 10**400])
def test_a_time_that_is_none_is_zero(time: object) -> None:
    assert heard("die", timeNano=time).time == 0


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
def test_a_line_that_can_not_be_is_bad_input(broken: bytes) -> None:
    with pytest.raises(BadInput):
        parse_event(broken)


def test_labels_of_other_types_are_not_kept_nor_any_but_of_a_start() -> None:
    attributes = {"koi.enable": True, "a": ["b"], "exitCode": "1", "c": "d"}
    assert heard("start", attributes=attributes).labels == {"c": "d"}
    assert heard("die", attributes=attributes).labels == {}


@given(st.binary() | anything.map(lambda said: json.dumps(said).encode()))
def test_no_bytes_raise_anything_but_bad_input(said: bytes) -> None:
    with suppress(BadInput):
        parse_event(said)


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
def test_no_value_at_any_place_raises_anything_but_bad_input(said: dict[str, Any]) -> None:
    try:
        found = parse_event(json.dumps(said).encode())
    except BadInput:
        return
    if found:
        assert isinstance(found.name + found.image + found.id, str)
        assert found.signal in range(65)
