"""What engines said: answers of real ones, recorded at one moment each, and small ones by hand."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
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
    """Yield what a list and an inspection said of each container, and which engine it was."""
    kind = KINDS[recording.name.partition("-")[0]]
    recorded = json.loads(recording.read_bytes())
    for record in recorded["list"]:
        yield kind, record, recorded["inspect"][record["Id"]]


def list_record(**said: object) -> Record:
    return {"Id": ID, "State": "running"} | said


def inspection_record(state: Mapping[str, object] = {}, **said: object) -> Record:
    return {"Id": ID, "State": {"Status": "running"} | dict(state)} | said


def port(
    container_port: int,
    host_port: int = 0,
    at: str = "0.0.0.0",
    protocol: Protocol = Protocol.TCP,
) -> PortMapping:
    """Say a published port, or a declared one that is not published."""
    return PortMapping(
        container_port=container_port,
        protocol=protocol,
        host_port=host_port,
        host_ip=at if host_port else "",
        source=PortSource.PUBLISHED if host_port else PortSource.DECLARED,
    )


def alike(one: Container, other: Container, *but: str) -> None:
    """Hold two containers against each other, except for what only one can know."""
    differing = {
        field.name
        for field in fields(Container)
        if getattr(one, field.name) != getattr(other, field.name)
    }
    assert differing - set(but) == set()


def texts_of(value: object) -> Iterator[str]:
    """Yield every text that a value shows to anybody."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | frozenset):
        for item in value:
            yield from texts_of(item)
    elif hasattr(value, "__dataclass_fields__"):
        for field in fields(value):  # type: ignore[arg-type]
            yield from texts_of(getattr(value, field.name))
