"""Containers as real engines told of them, and as no engine should."""

from dataclasses import replace
from typing import Any

import pytest

from koi_agent.backends.docker.containers import (
    Container,
    container_from_inspection,
    container_from_list,
    container_from_start,
    shown_name,
)
from koi_agent.backends.docker.events import Event
from koi_agent.backends.docker.instances import instance_of
from koi_agent.backends.docker.kinds import DOCKER, PODMAN, Kind
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Health, Instance, InstanceState, KoiMetadata, Protocol
from koi_agent.core.text import UNSAFE
from tests.unit.engine_records import (
    ID,
    Record,
    inspection_record,
    list_record,
    port,
    texts_of,
)

PODMANS = "PODMAN_SYSTEMD_UNIT"
COMPOSE = "com.docker.compose."


def labelled(**labels: object) -> Record:
    return {"Labels": {name.replace("__", "."): value for name, value in labels.items()}}


def shown(record: Record, kind: Kind = DOCKER) -> Instance:
    return instance_of(container_from_list(record, kind, None), kind.name)


# Lists


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("running", InstanceState.RUNNING),
        ("stopping", InstanceState.RUNNING),
        ("Paused", InstanceState.PAUSED),
        ("restarting", InstanceState.RESTARTING),
        ("created", InstanceState.STOPPED),
        ("exited", InstanceState.STOPPED),
        ("dead", InstanceState.STOPPED),
        ("removing", InstanceState.STOPPED),
        ("configured", InstanceState.STOPPED),
        ("levitating", InstanceState.UNKNOWN),
    ],
)
def test_each_word_for_a_state_is_known(status: str, state: InstanceState) -> None:
    assert container_from_list(list_record(State=status), DOCKER, None).state is state
    assert container_from_inspection(inspection_record({"Status": status}), DOCKER).state is state


BROKEN: list[object] = [
    None,
    [],
    "x",
    5,
    {},
    {"Id": 5, "State": "running"},
    {"Id": "", "State": "running"},
    {"Id": "../../x", "State": "running"},
    {"Id": "a" * 129, "State": "running"},
    {"Id": ID},
    {"Id": ID, "State": ""},
    {"Id": ID, "State": 5},
    {"Id": ID, "State": {"Status": 5}},
]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_record_without_id_or_state_is_bad_input(broken: object) -> None:
    with pytest.raises(BadInput):
        container_from_list(broken, DOCKER, None)
    with pytest.raises(BadInput):
        container_from_inspection(broken, DOCKER)


def test_of_several_names_the_containers_own_is_taken() -> None:
    names = ["/front/db", "/db", "/a/db"]
    for order in (names, names[::-1]):
        assert container_from_list(list_record(Names=order), DOCKER, None).name == "db"


@pytest.mark.parametrize(
    "name", ["", "/", " ", "\x1b[31m", "a\nb", "\udc80", "a" * 254, "é" * 127, "\u202ea"]
)
def test_a_name_that_can_not_be_shown_is_the_short_id(name: str) -> None:
    assert shown_name(name, ID) == ID[:12]
    assert container_from_inspection(inspection_record(Name=name), DOCKER).name == ID[:12]


def test_an_old_image_keeps_the_name_that_it_was_started_by() -> None:
    known = container_from_inspection(inspection_record(Config={"Image": "web:1"}), DOCKER)
    assert container_from_list(list_record(Image="sha256:" + ID), DOCKER, known).image == "web:1"


def test_what_never_changes_is_taken_of_an_inspection_and_read_until_there_is_one() -> None:
    event = Event(action="start", id=ID, time=2_000_000_000, image="web:1")
    record = list_record(Created=1, Image="web:2", **labelled(koi__enable="true"))
    known = container_from_list(record, DOCKER, container_from_start(event, DOCKER))
    assert (known.created_at, known.image, known.labels.metadata.enable) == (
        1_000_000,
        "web:1",
        True,
    )
    told = inspection_record(Created="2026-01-01T00:00:00.9+01:00", Config=labelled(koi__name="A"))
    full = container_from_inspection(told, DOCKER)
    again = container_from_list(record, DOCKER, full)
    assert again.labels is full.labels
    assert again.created_at == full.created_at == 1_767_222_000_000_000


@pytest.mark.parametrize(
    "time", ["", "yesterday", "0001-01-01T00:00:00Z", "2026-13-01T00:00:00Z", 5]
)
def test_a_time_that_is_none_is_zero(time: object) -> None:
    assert container_from_inspection(inspection_record(Created=time), DOCKER).created_at == 0


# Health


UNHEALTHY = inspection_record({"Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1}]}})


def test_a_list_that_is_silent_on_health_changes_none() -> None:
    known = container_from_inspection(UNHEALTHY, DOCKER)
    for status in ("Up 2 minutes (Paused)", "Up 2 minutes (unhealthy)", "", None):
        again = container_from_list(list_record(Status=status), DOCKER, known)
        assert (again.health, again.health_detail) == (known.health, known.health_detail)


def test_a_list_that_tells_of_other_health_is_believed() -> None:
    again = container_from_list(
        list_record(Status="Up 1 hour (healthy)"),
        DOCKER,
        container_from_inspection(UNHEALTHY, DOCKER),
    )
    assert (again.health, again.health_detail) == (Health.HEALTHY, "")


@pytest.mark.parametrize(
    ("log", "detail"),
    [
        ([{"ExitCode": 7}, {"ExitCode": 22, "Output": "secret"}], "the last check exited with 22"),
        ([{"ExitCode": -1}], "the last check timed out"),
        ([{"ExitCode": 0}], "checks fail"),
        ([{"ExitCode": "\x1b"}, 5], "checks fail"),
        ([{"ExitCode": 10**30}], "checks fail"),
        ([], "checks fail"),
        (None, "checks fail"),
    ],
)
def test_why_checks_fail_is_said_in_our_words(log: object, detail: str) -> None:
    health = {"Status": "unhealthy", "Log": log}
    for key in ("Health", "Healthcheck"):  # Podman before 4 had the second
        assert (
            container_from_inspection(inspection_record({key: health}), PODMAN).health_detail
            == detail
        )


# Labels


def test_a_unit_is_podmans_word_only_and_only_if_it_is_one() -> None:
    record = list_record(Labels={PODMANS: "web@1.service"})
    assert shown(record, PODMAN).unit == "web@1.service"
    assert shown(record, DOCKER).unit == ""
    for hostile in ("../x.service", "x", "a b.service", "a.service\n", ".service"):
        assert shown(list_record(Labels={PODMANS: hostile}), PODMAN).unit == ""


@pytest.mark.parametrize("service", ["", "\x1b[31m", "a\nb", "é" * 127, " "])
def test_a_service_name_that_can_not_be_shown_is_told_of_and_not_used(service: str) -> None:
    labels = {f"{COMPOSE}service": service, f"{COMPOSE}container-number": "\x1b1"}
    made = shown(list_record(Names=["/own"], Labels=labels))
    assert (made.name, made.replica) == ("own", 0)
    assert "com.docker.compose.service is ignored" in made.notes[0]
    assert not UNSAFE.search(made.notes[0])


def test_a_label_of_ours_that_is_no_text_is_told_of() -> None:
    made = shown(list_record(**labelled(koi__enable=True, other=5)))
    assert made.metadata.enable is None
    assert len(made.notes) == 1


def test_labels_of_others_and_the_environment_are_not_kept() -> None:
    config = labelled(token="s3cret") | {"Env": ["PASSWORD=s3cret", "KOI_MDNS_ANNOUNCE=web"]}
    full = container_from_inspection(inspection_record(Config=config | {"Cmd": ["s3cret"]}), DOCKER)
    assert full.labels.metadata.name == "web"
    assert not [text for text in texts_of(full) if "s3cret" in text]


# Inspections


def details(**said: Any) -> Any:
    return container_from_inspection(inspection_record(**said), PODMAN).inspected


@pytest.mark.parametrize(
    ("signal", "number"), [("SIGQUIT", 3), ("SIGRTMIN+3", 37), (15, 15), (None, 0), ("x", 0)]
)
def test_a_stop_signal_is_read_from_words_and_numbers(signal: object, number: int) -> None:
    assert details(Config={"StopSignal": signal}).stop_signal == number


def test_what_becomes_of_it_when_it_ends_is_read() -> None:
    said = details(
        State={"Status": "running", "Pid": 77, "CgroupPath": "/machine.slice/a-b.scope"},
        HostConfig={"RestartPolicy": {"Name": "always"}, "CgroupParent": "my.slice"},
        RestartCount=3,
    )
    assert (said.main_pid, said.control_group) == (77, "/machine.slice/a-b.scope")
    assert (said.restart_policy, said.restart_count) == ("always", 3)
    assert said.cgroup_parent == "my.slice"
    assert details(HostConfig={"RestartPolicy": {"Name": "no"}}).restart_policy == ""


@pytest.mark.parametrize("path", ["/../etc", "a\x00b", "/\udc80", "/a b", 5, "/" * 2000])
def test_a_control_group_that_can_not_be_is_none(path: object) -> None:
    state = {"Status": "running", "CgroupPath": path}
    said = details(State=state, HostConfig={"CgroupParent": path})
    assert (said.control_group, said.cgroup_parent) == ("", "")


# Networks


def test_podmans_list_is_not_believed_about_networks_and_ports() -> None:
    """It names one network for all, and of a range of ports the first."""
    record = list_record(
        HostConfig={"NetworkMode": "host"},
        Ports=[{"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
    )
    first = container_from_list(record, PODMAN, None)
    assert (first.network, first.ports) == ("", (port(80, 8080),))
    published = {f"{n}/tcp": [{"HostIp": "", "HostPort": str(n)}] for n in (80, 81)}
    full = container_from_inspection(
        inspection_record(NetworkSettings={"Ports": published}), PODMAN
    )
    assert container_from_list(record, PODMAN, full) == full


def test_networks_are_told_in_the_order_of_their_names() -> None:
    said = {"front": {"IPAddress": "10.0.0.2"}, "back": {"IPAddress": "10.0.9.2"}}
    record = list_record(NetworkSettings={"Networks": said})
    assert container_from_list(record, DOCKER, None).ips == ("10.0.9.2", "10.0.0.2")


def container(**said: Any) -> Container:
    return replace(container_from_list(list_record(), DOCKER, None), **said)


def labels_with(metadata: KoiMetadata) -> Any:
    return replace(container().labels, metadata=metadata)


def test_on_the_hosts_network_ports_are_those_that_are_listened_on() -> None:
    host = container(network="host", exposed=frozenset({(80, Protocol.TCP)}))
    assert instance_of(host, DOCKER.name).ports == (replace(port(80), host_port=80),)
    heard_there = (replace(port(8080), host_port=8080, host_ip="::"),)
    assert instance_of(host, DOCKER.name, host_ports=heard_there).ports == heard_there
    wished = replace(host, labels=labels_with(KoiMetadata(port=9)))
    assert instance_of(wished, DOCKER.name, host_ports=heard_there).ports == (
        replace(port(9), host_port=9),
        *heard_there,
    )


JOINED = container(ips=("10.0.0.2",), ports=(port(53, 53, "::", Protocol.UDP), port(80, 8080)))


@pytest.mark.parametrize(
    ("exposed", "metadata", "ports"),
    [
        ([], KoiMetadata(), (port(53, 53, "::", Protocol.UDP), port(80, 8080))),
        ([(80, Protocol.TCP)], KoiMetadata(), (port(80, 8080),)),
        ([], KoiMetadata(port=80), (port(80, 8080),)),
        ([(9, Protocol.TCP)], KoiMetadata(), (port(9),)),
        ([(9, Protocol.TCP)], KoiMetadata(port=80), (port(9), port(80, 8080))),
    ],
)
def test_in_anothers_network_addresses_are_its_and_ports_those_that_are_our_own(
    exposed: list[tuple[int, Protocol]], metadata: KoiMetadata, ports: tuple[object, ...]
) -> None:
    mine = container(
        network="container:x", exposed=frozenset(exposed), labels=labels_with(metadata)
    )
    made = instance_of(mine, DOCKER.name, joined=JOINED)
    assert (made.ips, made.ports) == (JOINED.ips, ports)


def test_in_the_network_of_one_on_the_hosts_ports_are_the_hosts() -> None:
    mine = container(network="container:x", labels=labels_with(KoiMetadata(port=80)))
    assert instance_of(mine, DOCKER.name, joined=container(network="host")).ports == (
        replace(port(80), host_port=80),
    )


@pytest.mark.parametrize("ip", ["", "0.0.0.0", "::", "x", "1.2.3.4\x00", "\x1b", "\udc80", 5])
def test_an_address_that_is_none_is_not_told(ip: object) -> None:
    networks = {"a": {"IPAddress": ip, "GlobalIPv6Address": "fd00::1"}, "b": {"IPAddress": ip}}
    record = list_record(NetworkSettings={"Networks": networks})
    assert container_from_list(record, DOCKER, None).ips == ("fd00::1",)
