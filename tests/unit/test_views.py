"""Instances as values for whoever shows them."""

import json
from dataclasses import fields

from koi_agent.core.instance import (
    EnabledBy,
    Instance,
    InstanceState,
    KoiMetadata,
    PortMapping,
    PortMetadata,
    PortSource,
    Protocol,
    Refusal,
)
from koi_agent.core.schema import explanation_of, metadata_of, port_of

PORT = PortMapping(
    container_port=80,
    protocol=Protocol.TCP,
    host_port=8080,
    host_ip="::",
    source=PortSource.PUBLISHED,
)
FULL = KoiMetadata(
    enable=True,
    service_type="_http._tcp",
    subtypes=("_printer",),
    name="Web",
    dns_name="web.lan",
    txt=(("path", "/"),),
    port=80,
    health_path="/live",
    health_kind="http",
    health_scheme="https",
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
        ports=(PORT,),
        metadata=metadata,
        notes=("a note",),
    )


def test_nothing_said_is_nothing_shown() -> None:
    assert metadata_of(KoiMetadata()) == {}


def test_everything_said_is_shown_under_its_own_name() -> None:
    shown = metadata_of(FULL)
    assert shown.keys() == {field.name for field in fields(KoiMetadata)} - {"refused"}
    assert (shown["proxy_remote"], shown["port"], shown["enabled_by"]) == (False, 80, "announce")
    assert shown["txt"] == {"path": "/"}
    assert shown["subtypes"] == ["_printer"]
    assert shown["ports"] == {
        "53/udp": {"type": "_dns._udp", "subtypes": ["_own"]},
        "80/tcp": {"name": "a", "txt": {"k": "v"}},
    }


def test_false_and_zero_are_said() -> None:
    assert metadata_of(KoiMetadata(enable=False, health_interval=0)) == {
        "enable": False,
        "health_interval": 0,
    }


def test_port_is_shown_with_its_service_type() -> None:
    assert port_of(PORT, KoiMetadata()) == {
        "host_port": 8080,
        "container_port": 80,
        "protocol": "tcp",
        "host_ip": "::",
        "source": "published",
        "type": "_http._tcp",
    }


def test_explanation_says_what_was_wished_and_what_was_refused() -> None:
    refused = Refusal(key="koi.port", reason="'x' is no number")
    shown = explanation_of(instance(KoiMetadata(refused=(refused,))), ())
    assert shown["key"] == "podman:c"
    assert (shown["enabled"], shown["enabled_by"]) == (False, "")
    assert shown["refused"] == [{"key": "koi.port", "reason": "'x' is no number", "capability": ""}]
    assert shown["notes"] == ["a note"]
    assert "not opted in" in shown["reasons"][0]


def test_explanation_names_what_decided() -> None:
    yes = explanation_of(instance(FULL), ())
    no = explanation_of(instance(KoiMetadata(enable=False, enabled_by=EnabledBy.EXPLICIT)), ())
    assert (yes["enabled"], yes["reasons"]) == (True, ["opted in (announce)"])
    assert (no["enabled"], no["reasons"]) == (False, ["opted out (explicit)"])


def test_views_are_plain_values() -> None:
    shown = explanation_of(instance(FULL), ())
    assert json.loads(json.dumps(shown)) == shown
