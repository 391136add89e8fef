"""Properties of containers for any value that an engine may send."""

from contextlib import suppress
from dataclasses import fields
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.docker.containers import (
    Container,
    container_from_inspection,
    container_from_list,
)
from koi_agent.backends.docker.instances import instance_of
from koi_agent.backends.docker.kinds import DOCKER, KINDS, Kind
from koi_agent.backends.docker.networks import Network
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Health
from koi_agent.core.text import UNSAFE
from tests.unit.engine_records import (
    ID,
    Record,
    anything,
    assert_equal_except,
    texts_of,
)

COMPOSE = "com.docker.compose."
KEYS = [
    *("Id", "State", "Status", "Names", "Name", "Image", "ImageName", "Created", "Labels", "Env"),
    *("HostConfig", "NetworkMode", "NetworkSettings", "Networks", "IPAddress", "Ports", "80/tcp"),
    *("HostIp", "HostPort", "PrivatePort", "PublicPort", "Type", "Config", "ExposedPorts", "Pid"),
    *("StopSignal", "RestartPolicy", "CgroupPath", "StartedAt", "RestartCount"),
    *("Health", "Log", "ExitCode", f"{COMPOSE}service", f"{COMPOSE}project", "koi.port"),
    *(f"{COMPOSE}container-number", "PODMAN_SYSTEMD_UNIT"),
]
WORDS = [
    ID,
    "running",
    "80",
    "tcp",
    "::",
    "host",
    f"container:{ID}",
    "unhealthy",
    "\x1b[31m",
    "\ud800",
]
values = st.sampled_from(WORDS) | anything
trees = st.recursive(
    values,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=20,
)
records = st.builds(
    lambda state, fields: {**fields, "Id": ID, "State": state},
    st.just("running") | trees,
    st.dictionaries(st.sampled_from(KEYS), trees, max_size=12),  # all keys at once take minutes
)


@given(trees | records, st.sampled_from([*KINDS.values()]))
def test_no_value_at_any_place_raises_anything_but_bad_input(record: Any, kind: Kind) -> None:
    found: list[Container] = []
    with suppress(BadInput):
        found.append(container_from_inspection(record, kind))
    with suppress(BadInput):
        found.append(container_from_list(record, kind, found[0] if found else None))
        found.append(container_from_list(record, kind, None))
    for one in found:
        network = Network(found[-1])
        published = instance_of(one, kind.name, network=network)
        assert hash(published) == hash(instance_of(one, kind.name, network=network))
        assert not [text for text in texts_of(published) if UNSAFE.search(text)]


@given(records, records, st.sampled_from([*KINDS.values()]))
def test_a_list_is_the_same_before_and_after_an_inspection(
    record: Record, inspection: Record, kind: Kind
) -> None:
    """With an inspection, a list has the same list-only fields and the inspection's others."""
    inspection["State"] = {"Status": "running"}
    record["State"] = "running"
    full, first = (
        container_from_inspection(inspection, kind),
        container_from_list(record, kind, None),
    )
    both = container_from_list(record, kind, full)
    listed_only = ("name", "state", "status", "ips", *(["ports"] if kind is DOCKER else []))
    assert_equal_except(
        both, first, *(field.name for field in fields(Container) if field.name not in listed_only)
    )
    assert_equal_except(both, full, *listed_only, "health", "health_detail")
    assert both.health is (full.health if first.health is Health.NONE else first.health)
    assert container_from_list(record, kind, both) == both


@given(records, st.randoms())
def test_the_order_of_keys_and_ports_does_not_matter(record: Record, random: Random) -> None:
    record["State"] = "running"

    def shuffled(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            items = random.sample(sorted(value.items(), key=lambda item: item[0]), len(value))
            return {name: shuffled(inner, name) for name, inner in items}
        return random.sample(value, len(value)) if key == "Ports" and type(value) is list else value

    assert container_from_list(shuffled(record), DOCKER, None) == container_from_list(
        record, DOCKER, None
    )
