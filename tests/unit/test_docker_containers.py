"""Containers from lists, inspections and events, well-formed and hostile."""

from dataclasses import replace
from typing import Any

import pytest

from koi_agent.backends.docker.containers import (
    Container,
    Inspected,
    container_from_inspection,
    container_from_list,
    container_from_start,
    shown_name,
)
from koi_agent.backends.docker.events import Event
from koi_agent.backends.docker.instances import instance_of
from koi_agent.backends.docker.kinds import DOCKER, PODMAN, Kind
from koi_agent.backends.docker.networks import Network
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import (
    Health,
    Instance,
    InstanceState,
    KoiMetadata,
    PortSource,
    Protocol,
)
from koi_agent.core.text import UNSAFE
from koi_agent.host.engines import is_used_label
from tests.unit.engine_records import (
    ID,
    Record,
    inspection_record,
    list_record,
    port,
    texts_of,
)

PODMAN_UNIT = "PODMAN_SYSTEMD_UNIT"
COMPOSE = "com.docker.compose."


def labelled(**labels: object) -> Record:
    return {"Labels": {name.replace("__", "."): value for name, value in labels.items()}}


def listed_instance(record: Record, kind: Kind = DOCKER) -> Instance:
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
def test_each_status_has_a_state(status: str, state: InstanceState) -> None:
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


def test_of_several_names_the_containers_own_is_used() -> None:
    names = ["/front/db", "/db", "/a/db"]
    for order in (names, names[::-1]):
        assert container_from_list(list_record(Names=order), DOCKER, None).name == "db"


@pytest.mark.parametrize(
    "name", ["", "/", " ", "\x1b[31m", "a\nb", "\udc80", "a" * 254, "é" * 127, "\u202ea"]
)
def test_a_name_that_can_not_be_shown_becomes_the_short_id(name: str) -> None:
    assert shown_name(name, ID) == ID[:12]
    assert container_from_inspection(inspection_record(Name=name), DOCKER).name == ID[:12]


def test_an_image_keeps_the_name_in_the_inspection() -> None:
    known = container_from_inspection(inspection_record(Config={"Image": "web:1"}), DOCKER)
    assert container_from_list(list_record(Image="sha256:" + ID), DOCKER, known).image == "web:1"


def test_constant_facts_come_from_an_inspection_once_there_is_one() -> None:
    event = Event(action="start", id=ID, time=2_000_000_000, image="web:1")
    record = list_record(Created=1, Image="web:2", **labelled(koi__enable="true"))
    known = container_from_list(record, DOCKER, container_from_start(event, DOCKER))
    assert (known.created_at, known.image, known.labels.metadata.enable) == (
        1_000_000,
        "web:1",
        True,
    )
    record_ = inspection_record(
        Created="2026-01-01T00:00:00.9+01:00", Config=labelled(koi__name="A")
    )
    full = container_from_inspection(record_, DOCKER)
    again = container_from_list(record, DOCKER, full)
    assert again.labels is full.labels
    assert again.created_at == full.created_at == 1_767_222_000_000_000


@pytest.mark.parametrize(
    "time", ["", "yesterday", "0001-01-01T00:00:00Z", "2026-13-01T00:00:00Z", 5]
)
def test_a_malformed_time_is_zero(time: object) -> None:
    assert container_from_inspection(inspection_record(Created=time), DOCKER).created_at == 0


# Health


UNHEALTHY = inspection_record({"Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1}]}})


def test_a_list_without_health_keeps_the_known_health() -> None:
    known = container_from_inspection(UNHEALTHY, DOCKER)
    for status in ("Up 2 minutes (Paused)", "Up 2 minutes (unhealthy)", "", None):
        again = container_from_list(list_record(Status=status), DOCKER, known)
        assert (again.health, again.health_detail) == (known.health, known.health_detail)


def test_a_list_with_another_health_is_applied() -> None:
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
def test_the_health_detail_has_no_text_of_the_engine(log: object, detail: str) -> None:
    health = {"Status": "unhealthy", "Log": log}
    for key in ("Health", "Healthcheck"):  # Podman before 4 had the second
        assert (
            container_from_inspection(inspection_record({key: health}), PODMAN).health_detail
            == detail
        )


# Labels


def test_only_podman_names_a_unit_and_only_a_valid_one() -> None:
    record = list_record(Labels={PODMAN_UNIT: "web@1.service"})
    assert listed_instance(record, PODMAN).unit == "web@1.service"
    assert listed_instance(record, DOCKER).unit == ""
    for hostile in ("../x.service", "x", "a b.service", "a.service\n", ".service"):
        assert listed_instance(list_record(Labels={PODMAN_UNIT: hostile}), PODMAN).unit == ""


@pytest.mark.parametrize("service", ["", "\x1b[31m", "a\nb", "é" * 127, " "])
def test_a_service_name_that_can_not_be_shown_is_ignored_with_a_note(service: str) -> None:
    labels = {f"{COMPOSE}service": service, f"{COMPOSE}container-number": "\x1b1"}
    instance = listed_instance(list_record(Names=["/own"], Labels=labels))
    assert (instance.name, instance.replica) == ("own", 0)
    assert "com.docker.compose.service is ignored" in instance.notes[0]
    assert not UNSAFE.search(instance.notes[0])


def test_a_koi_label_that_is_not_text_has_a_note() -> None:
    instance = listed_instance(list_record(**labelled(koi__enable=True, other=5)))
    assert instance.metadata.enable is False
    assert len(instance.notes) == 1


def test_foreign_labels_and_the_environment_are_not_kept() -> None:
    config = labelled(token="s3cret") | {"Env": ["PASSWORD=s3cret", "KOI_MDNS_ANNOUNCE=web"]}
    full = container_from_inspection(inspection_record(Config=config | {"Cmd": ["s3cret"]}), DOCKER)
    assert full.labels.metadata.name == "web"
    assert not [text for text in texts_of(full) if "s3cret" in text]


# Inspections


def inspected(**fields: Any) -> Any:
    return container_from_inspection(inspection_record(**fields), PODMAN).inspected


@pytest.mark.parametrize(
    ("signal", "number"), [("SIGQUIT", 3), ("SIGRTMIN+3", 37), (15, 15), (None, 0), ("x", 0)]
)
def test_a_stop_signal_is_a_word_or_a_number(signal: object, number: int) -> None:
    assert inspected(Config={"StopSignal": signal}).stop_signal == number


def test_an_inspection_has_the_restart_policy_and_the_control_group() -> None:
    found = inspected(
        State={"Status": "running", "Pid": 77, "CgroupPath": "/machine.slice/a-b.scope"},
        HostConfig={"RestartPolicy": {"Name": "always"}},
        RestartCount=3,
    )
    assert (found.main_pid, found.control_group) == (77, "/machine.slice/a-b.scope")
    assert (found.restart_policy, found.restart_count) == ("always", 3)
    assert inspected(HostConfig={"RestartPolicy": {"Name": "no"}}).restart_policy == ""


@pytest.mark.parametrize("path", ["/../etc", "a\x00b", "/\udc80", "/a b", 5, "/" * 2000])
def test_a_malformed_control_group_is_empty(path: object) -> None:
    state = {"Status": "running", "CgroupPath": path}
    found = inspected(State=state, HostConfig={})
    assert found.control_group == ""


# Networks


def test_podmans_list_does_not_change_network_and_ports() -> None:
    """It has one network mode for all containers, and only the first port of a range."""
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


def test_addresses_are_sorted_by_the_names_of_their_networks() -> None:
    networks = {"front": {"IPAddress": "10.0.0.2"}, "back": {"IPAddress": "10.0.9.2"}}
    record = list_record(NetworkSettings={"Networks": networks})
    assert container_from_list(record, DOCKER, None).ips == ("10.0.9.2", "10.0.0.2")


def container(**fields: Any) -> Container:
    return replace(container_from_list(list_record(), DOCKER, None), **fields)


def labels_with(metadata: KoiMetadata) -> Any:
    return replace(container().labels, metadata=metadata)


@pytest.mark.parametrize("exposed", [[], [80], [80, 443], [8080]])
@pytest.mark.parametrize("listening", [[], [8080], [80, 8080, 8123]])
@pytest.mark.parametrize("declared", [None, 8080, 9])
def test_on_the_hosts_network_ports_are_listeners_and_declared_ones(
    exposed: list[int], listening: list[int], declared: int | None
) -> None:
    host = container(
        network="host",
        exposed=frozenset((number, Protocol.TCP) for number in exposed),
        labels=labels_with(KoiMetadata(port=declared)),
    )
    listeners = tuple(
        replace(port(number, number, "::"), source=PortSource.LISTENING) for number in listening
    )
    shown = instance_of(host, DOCKER.name, host_ports=listeners).ports
    assert {one.host_port for one in shown if one.source is PortSource.LISTENING} == {*listening}
    only_declared = {one.host_port for one in shown if one.source is PortSource.DECLARED}
    assert only_declared == {declared} - {None, *listening}
    assert len(shown) == len({*listening} | {declared} - {None})


@pytest.mark.parametrize(
    ("network", "inspected", "notes"),
    [
        ("host", Inspected(main_pid=7), 1),
        ("host", Inspected(main_pid=7, control_group="/docker/a"), 0),
        ("host", Inspected(), 0),
        ("", Inspected(main_pid=7), 0),
    ],
)
def test_a_note_says_that_listeners_are_not_known(
    network: str, inspected: Inspected, notes: int
) -> None:
    shown = instance_of(container(network=network, inspected=inspected), DOCKER.name)
    assert len(shown.notes) == notes


JOINED = container(
    id="x", ips=("10.0.0.2",), ports=(port(53, 53, "::", Protocol.UDP), port(80, 8080))
)


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
def test_in_a_shared_network_addresses_are_shared_and_ports_are_its_own(
    exposed: list[tuple[int, Protocol]], metadata: KoiMetadata, ports: tuple[object, ...]
) -> None:
    joiner = container(
        network="container:x", exposed=frozenset(exposed), labels=labels_with(metadata)
    )
    instance = instance_of(joiner, DOCKER.name, network=Network(JOINED))
    assert (instance.ips, instance.ports) == (JOINED.ips, ports)


def test_a_container_joined_to_one_on_the_hosts_network_has_host_ports() -> None:
    joiner = container(network="container:x", labels=labels_with(KoiMetadata(port=80)))
    network = Network(container(network="host"))
    assert instance_of(joiner, DOCKER.name, network=network).ports == (
        replace(port(80), host_port=80),
    )


def test_a_container_in_a_lost_network_has_neither_ports_nor_addresses() -> None:
    joiner = container(network="container:x", labels=labels_with(KoiMetadata(port=80)))
    network = Network(replace(JOINED, name="vpn"), is_lost=True)
    instance = instance_of(joiner, DOCKER.name, network=network)
    assert (instance.ips, instance.ports) == ((), (port(80),))
    assert instance.notes == (
        "it is in the network that vpn had before a restart: restart this container too",
    )


@pytest.mark.parametrize("ip", ["", "0.0.0.0", "::", "x", "1.2.3.4\x00", "\x1b", "\udc80", 5])
def test_a_malformed_address_is_ignored(ip: object) -> None:
    networks = {"a": {"IPAddress": ip, "GlobalIPv6Address": "fd00::1"}, "b": {"IPAddress": ip}}
    record = list_record(NetworkSettings={"Networks": networks})
    assert container_from_list(record, DOCKER, None).ips == ("fd00::1",)


@pytest.mark.parametrize("prefix", ["com.docker.compose.", "io.podman.compose."])
@pytest.mark.parametrize(
    ("value", "name", "replica"),
    [("True", "p-web-run-1", 0), ("true", "p-web-run-1", 0), ("False", "web", 2), ("", "web", 2)],
)
def test_a_one_off_has_the_name_of_its_container(
    prefix: str, value: str, name: str, replica: int
) -> None:
    labels = {"service": "web", "project": "p", "container-number": "2", "oneoff": value}
    named = {prefix + key: text for key, text in labels.items()}
    assert all(map(is_used_label, named))
    for kind in (DOCKER, PODMAN):
        instance = listed_instance(list_record(Names=["/p-web-run-1"], Labels=named), kind)
        assert (instance.name, instance.project, instance.replica) == (name, "p", replica)
        assert instance.one_off is (replica == 0)
        assert bool(instance.notes) is instance.one_off
