"""Records of engines: recordings of real ones, each made at one moment, and small ones by hand."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from koi_agent.backends.docker.containers import Container
from koi_agent.backends.docker.kinds import KINDS, Kind
from koi_agent.core.instance import PortMapping, PortSource, Protocol

TESTS = Path(__file__).parents[1]
ID = "9f2c" * 16

Record = dict[str, Any]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)
"""Any value of JSON, and a little more."""


def recordings() -> list[Path]:
    folders = (TESTS / "dockerd/recordings", TESTS / "runtimes/recordings")
    return sorted(path for folder in folders for path in folder.glob("*.json"))


def pairs(recording: Path) -> Iterator[tuple[Kind, Record, Record]]:
    """Yield the kind of engine, and the record of each container in its list and inspection."""
    kind = KINDS[recording.name.partition("-")[0]]
    recorded = json.loads(recording.read_bytes())
    for record in recorded["list"]:
        yield kind, record, recorded["inspect"][record["Id"]]


def list_record(**fields: object) -> Record:
    return {"Id": ID, "State": "running"} | fields


def inspection_record(state: Mapping[str, object] = {}, **fields: object) -> Record:
    return {"Id": ID, "State": {"Status": "running"} | dict(state)} | fields


def port(
    container_port: int,
    host_port: int = 0,
    at: str = "0.0.0.0",
    protocol: Protocol = Protocol.TCP,
) -> PortMapping:
    """Return a published port, or a declared one if there is no host port."""
    return PortMapping(
        container_port=container_port,
        protocol=protocol,
        host_port=host_port,
        host_ip=at if host_port else "",
        source=PortSource.PUBLISHED if host_port else PortSource.DECLARED,
    )


def assert_equal_except(one: Container, other: Container, *names: str) -> None:
    """Assert that two containers are equal in all fields but the named ones."""
    differing = {
        field.name
        for field in dataclasses.fields(Container)
        if getattr(one, field.name) != getattr(other, field.name)
    }
    assert differing - set(names) == set()


def texts_of(value: object) -> Iterator[str]:
    """Yield every text in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | frozenset):
        for item in value:
            yield from texts_of(item)
    elif hasattr(value, "__dataclass_fields__"):
        for field in dataclasses.fields(value):  # type: ignore[arg-type]
            yield from texts_of(getattr(value, field.name))
