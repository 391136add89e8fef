"""Rows name the attributes that they read, so that only those are compared."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given

from koi_agent.core.events import BackendStatus
from koi_agent.core.instance import Instance, InstanceState
from koi_agent.core.schema.backend import BACKEND_PROPERTIES
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.core.schema.tables import Row, Table
from tests.unit.strategies import INSTANCES

WEB = Instance(id="a", name="web", backend="docker", state=InstanceState.RUNNING)
ROWS = [
    *((row, WEB) for row in INSTANCE_PROPERTIES.rows if row.get),
    *((row, BackendStatus(name="docker", kind="docker")) for row in BACKEND_PROPERTIES.rows),
]


class Recorder:
    """Passes on the attributes of an object, and records their names."""

    def __init__(self, subject: Any) -> None:
        self.subject = subject
        self.names: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.names.add(name)
        return getattr(self.subject, name)


@pytest.mark.parametrize(("row", "subject"), ROWS)
def test_a_row_reads_the_attributes_that_it_names(row: Row[Any], subject: Any) -> None:
    recorder = Recorder(subject)
    assert row.get
    row.get(recorder)
    assert recorder.names == set((row.key,) if row.of is None else row.of)


@given(INSTANCES, INSTANCES)
def test_differences_are_those_of_all_values(old: Instance, new: Instance) -> None:
    mixed = [old, new]
    changeable = [one.name for one in fields(Instance) if one.init]
    mixed.extend(replace(old, **{name: getattr(new, name)}) for name in changeable)
    for other in mixed:
        assert names(INSTANCE_PROPERTIES, old, other) == [
            row.name
            for row in INSTANCE_PROPERTIES.rows
            if row.get and row.get(old) != row.get(other)
        ]


def names(table: Table[Instance], old: Instance, new: Instance) -> list[str]:
    return [row.name for row in table.differences(old, new)]
