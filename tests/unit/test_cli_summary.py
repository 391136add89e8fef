"""The columns that ``list`` reads are those that the agent has."""

import pytest

from koi_agent.bus.signatures import parse
from koi_agent.cli import summary
from koi_agent.cli.columns import COLUMNS
from koi_agent.cli.listing import FILTERED
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.publishers.dbus import columns

CLASSES = {"s": str, "b": bool, "a": list}
EMPTY = {str: "", bool: False, list: []}


@pytest.mark.parametrize("key", summary.SOURCES)
def test_agent_has_the_column_with_values_of_this_class(key: str) -> None:
    source = summary.SOURCES[key]
    (kind,) = parse(columns.COLUMNS[source.column][0])
    assert CLASSES[kind.token] is source.python
    if row := INSTANCE_PROPERTIES.row(source.column):
        assert row.key == key


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_need_only_what_can_be_read(name: str) -> None:
    column = COLUMNS[name]
    assert set(column.keys) <= set(summary.SOURCES)
    record = {key: EMPTY[summary.SOURCES[key].python] for key in column.keys}
    assert "".join(column.values(record)) in ("", ":")
    column.style(record)


def test_filters_need_only_what_can_be_read() -> None:
    assert set(summary.SOURCES) >= FILTERED
