"""The schema of instances and backends, and that HTTP and the command give the same JSON."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import (  # type: ignore[import-untyped]
    Draft202012Validator,
    FormatChecker,
)

from koi_agent.bus.interfaces import Interface
from koi_agent.bus.messages import marshal
from koi_agent.bus.object_manager import properties
from koi_agent.bus.reader import unmarshal
from koi_agent.core.events import BackendStatus
from koi_agent.core.instance import (
    EnabledBy,
    Health,
    Instance,
    InstanceState,
    KoiMetadata,
    PortMapping,
    PortMetadata,
    PortSource,
    Protocol,
    RecordState,
    RecordStatus,
    Refusal,
)
from koi_agent.core.reach.network import UNKNOWN
from koi_agent.core.schema.backend import BACKEND_PROPERTIES
from koi_agent.core.schema.dictionaries import ANNOUNCEMENT, METADATA, PORT, InstancePort
from koi_agent.core.schema.explanation import explanation_of
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.core.schema.tables import Table
from koi_agent.publishers.dbus.interfaces import BACKEND_INTERFACE, INSTANCE_INTERFACE
from koi_agent.publishers.http.instances import backend_record, encode
from koi_agent.publishers.http.schemas import SCHEMAS, TABLES
from tests.unit.strategies import BACKENDS, INSTANCES

INTERNAL = {
    *("address_filter", "awaits", "checked", "ending", "notes", "one_off"),
    *("socket_ports", "traits", "workload"),
}
"""Fields of an instance that are not published as properties."""
MAPPING = PortMapping(
    container_port=80,
    protocol=Protocol.TCP,
    host_port=8080,
    host_ip="::",
    source=PortSource.PUBLISHED,
)
FULL = KoiMetadata(
    enable=True,
    mdns_enable=True,
    dns_enable=True,
    health_enable=True,
    proxy_enable=True,
    service_type="_http._tcp",
    subtypes=("_printer",),
    name="Web",
    dns_name="web.lan",
    txt=(("path", "/"),),
    port=80,
    health_path="/live",
    health_host="wiki.lan",
    health_kind="http",
    health_scheme="https",
    proxy_scheme="https",
    health_interval=30,
    health_timeout=5,
    proxy_port=443,
    proxy_remote=False,
    certmesh=True,
    source="compose",
    enabled_by=EnabledBy.ANNOUNCE,
    ports=(
        ((53, Protocol.UDP), PortMetadata(type="_dns._udp", subtypes=("_own",))),
        ((80, Protocol.TCP), PortMetadata(name="a", txt=(("k", "v"),))),
    ),
)


def instance(metadata: KoiMetadata) -> Instance:
    return Instance(
        id="c",
        name="web",
        backend="podman",
        state=InstanceState.RUNNING,
        ports=(MAPPING,),
        metadata=metadata,
        notes=("a note",),
    )


def over_bus(interface: Interface, subject: object) -> dict[str, Any]:
    """Return the properties that a client reads from the bus."""
    (values,) = unmarshal("a{sv}", marshal("a{sv}", (properties(interface, subject),)))
    assert isinstance(values, dict)
    return values


def validator(schema: str) -> Any:
    """Return a validator for a schema of the OpenAPI document."""
    rooted = {**SCHEMAS[schema], "components": {"schemas": SCHEMAS}}
    return Draft202012Validator(rooted, format_checker=FormatChecker())


VALID_INSTANCE, VALID_BACKEND = validator("Instance"), validator("Backend")


@settings(deadline=None)
@given(INSTANCES)
def test_http_and_command_give_same_json_for_instance(one: Instance) -> None:
    by_http = json.loads(encode(one))
    by_command = INSTANCE_PROPERTIES.record(over_bus(INSTANCE_INTERFACE, one))
    assert by_http == by_command
    assert json.loads(json.dumps(by_command)) == by_command
    VALID_INSTANCE.validate(by_http)


@settings(deadline=None)
@given(BACKENDS)
def test_http_and_command_give_same_json_for_backend(status: BackendStatus) -> None:
    by_http = backend_record(status)
    assert by_http == BACKEND_PROPERTIES.record(over_bus(BACKEND_INTERFACE, status))
    VALID_BACKEND.validate(by_http)


def test_every_field_of_instance_has_row() -> None:
    before = instance(FULL)
    others: dict[type, Any] = {
        str: "other",
        int: 7,
        bool: True,
        bytes: b"other",
        tuple: (),
        InstanceState: InstanceState.PAUSED,
        Health: Health.HEALTHY,
        KoiMetadata: KoiMetadata(),
    }
    changes = {
        field.name: others[type(getattr(before, field.name))]
        for field in fields(Instance)
        if field.init and field.name not in INTERNAL
    } | {
        "ips": ("::1",),
        "aliases": ("site.service",),
        "problems": ("a file",),
        "announcements": (RecordStatus(name="", state=RecordState.HELD),),
    }
    for name, value in changes.items():
        assert encode(replace(before, **{name: value})) != encode(before), name


def test_every_field_of_backend_has_key() -> None:
    keys = {row.key for row in BACKEND_PROPERTIES.rows}
    assert keys == {field.name for field in fields(BackendStatus)}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_rows_are_unique_and_have_one_sentence_of_help(table: Table[Any]) -> None:
    for column in ("key", "name", "heading"):
        values = [value for row in table.rows if (value := getattr(row, column))]
        assert len(values) == len(set(values)), column
    for row in table.rows:
        assert row.help[0].isupper() or row.help.startswith("systemd"), row.help
        assert row.help.endswith("."), row.help
        assert ". " not in row.help, row.help
        assert (row.get is None) == (row.derive is not None)


def test_record_of_old_agent_has_all_keys() -> None:
    record = INSTANCE_PROPERTIES.record({})
    assert list(record) == [
        row.key for row in INSTANCE_PROPERTIES.rows if row.key and not row.optional
    ]
    assert record["stale"] is False
    assert record["project"] is None


def test_values_of_unexpected_type_are_not_known() -> None:
    strange = dict.fromkeys(("Name", "Ports", "Metadata", "MainPID", "InvocationID", "Image"), 1.5)
    record = INSTANCE_PROPERTIES.record(strange)
    assert (record["name"], record["ports"], record["metadata"]) == ("", [], {})
    assert (record["main_pid"], record["invocation_id"]) == (None, None)
    assert "image" not in record
    record = INSTANCE_PROPERTIES.record({"Ports": [1, {}], "Metadata": {"enable": 1, "txt": 7}})
    assert record["metadata"] == {}
    assert [port["host_port"] for port in record["ports"]] == [0]


def test_image_is_left_out_and_our_keys_are_null_where_unknown() -> None:
    record = json.loads(encode(instance(KoiMetadata())))
    assert "image" not in record
    nulls = ("unit", "control_group", "main_pid", "invocation_id", "health_detail", "state_detail")
    assert [record[key] for key in nulls] == [None] * len(nulls)
    assert (record["project"], record["replica"], record["created_at"]) == (None, None, None)


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [
        (0, None),
        (1, "1970-01-01T00:00:00.000001Z"),
        (1_700_000_000_123_456, "2023-11-14T22:13:20.123456Z"),
        (1_700_000_000_000_000, "2023-11-14T22:13:20.000000Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        (253_402_300_800_000_000, None),
        (2**64 - 1, None),
    ],
)
def test_times_are_rfc3339_with_microseconds(microseconds: int, expected: str | None) -> None:
    record = INSTANCE_PROPERTIES.record({"CreatedTimestamp": microseconds})
    assert record["created_at"] == expected


def test_unset_metadata_is_left_out() -> None:
    assert METADATA.record(METADATA.values(KoiMetadata())) == {}


def test_set_metadata_has_the_keys_of_its_fields() -> None:
    shown = METADATA.record(METADATA.values(FULL))
    assert shown.keys() == {field.name for field in fields(KoiMetadata)} - {"refused"}
    assert (shown["proxy_remote"], shown["port"], shown["enabled_by"]) == (False, 80, "announce")
    assert shown["txt"] == {"path": "/"}
    assert shown["subtypes"] == ["_printer"]
    assert shown["ports"] == {
        "53/udp": {"type": "_dns._udp", "subtypes": ["_own"]},
        "80/tcp": {"name": "a", "txt": {"k": "v"}},
    }


def test_false_and_zero_are_set_metadata() -> None:
    metadata = KoiMetadata(enable=False, health_interval=0)
    assert METADATA.record(METADATA.values(metadata)) == {"enable": False, "health_interval": 0}


def test_port_has_its_service_type() -> None:
    assert PORT.record(PORT.values(InstancePort(MAPPING, KoiMetadata(), 0))) == {
        "host_port": 8080,
        "container_port": 80,
        "protocol": "tcp",
        "host_ip": "::",
        "source": "published",
        "interface": None,
        "ipv6_only": False,
        "type": "_http._tcp",
    }


def test_announcement_without_reason_has_null() -> None:
    record = ANNOUNCEMENT.record({"capability": "mdns", "name": "web.local", "status": "wanted"})
    assert (record["provider"], record["reason"], record["since"]) == (None, None, None)


def test_explanation_has_decision_and_refusals() -> None:
    refused = Refusal(key="koi.port", reason="'x' is not a number")
    shown = explanation_of(instance(KoiMetadata(refused=(refused,))), (), UNKNOWN)
    assert shown["key"] == "podman:c"
    assert (shown["enabled"], shown["enabled_by"]) == (False, "")
    expected = {"key": "koi.port", "reason": "'x' is not a number", "capability": "", "part": ""}
    assert shown["refused"] == [expected]
    assert shown["notes"] == ["a note"]
    assert "not opted in" in shown["reasons"][0]


def test_explanation_names_source_of_decision() -> None:
    opted_in = explanation_of(instance(FULL), (), UNKNOWN)
    out = KoiMetadata(enable=False, enabled_by=EnabledBy.EXPLICIT)
    opted_out = explanation_of(instance(out), (), UNKNOWN)
    assert (opted_in["enabled"], opted_in["reasons"]) == (True, ["opted in (announce)"])
    assert (opted_out["enabled"], opted_out["reasons"]) == (False, ["opted out (explicit)"])


def test_explanation_can_be_encoded_as_json() -> None:
    shown = explanation_of(instance(FULL), (), UNKNOWN)
    assert json.loads(json.dumps(shown)) == shown
