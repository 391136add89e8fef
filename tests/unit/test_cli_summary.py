"""The properties that ``list`` reads of an instance are those of the one schema."""

import pytest

from koi_agent.bus.selection import DICTIONARIES, Selection
from koi_agent.cli import summary
from koi_agent.cli.columns import COLUMNS
from koi_agent.cli.listing import FILTERED
from koi_agent.core.schema.dictionaries import ANNOUNCEMENT, PORT
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.core.schema.tables import Row, Table

KEYS = {one.key for one in summary.PROPERTIES.values()}


@pytest.mark.parametrize(
    ("selection", "table"),
    [
        (summary.PROPERTIES, INSTANCE_PROPERTIES),
        (summary.PORT, PORT),
        (summary.ANNOUNCEMENT, ANNOUNCEMENT),
    ],
    ids=["instance", "port", "announcement"],
)
def test_properties_have_the_names_types_and_defaults_of_the_schema(
    selection: Selection, table: Table[object]
) -> None:
    for name, wanted in selection.items():
        row = table.row(name)
        assert isinstance(row, Row), name
        kind = wanted.kind if isinstance(wanted.kind, str) else DICTIONARIES
        assert (wanted.key, kind) == (row.key, row.type.signature)
        assert not wanted.default
        assert row.type.python() in (wanted.default, list(wanted.default or ()))


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_need_only_what_can_be_read(name: str) -> None:
    column = COLUMNS[name]
    assert set(column.keys) <= KEYS
    record = {one.key: one.default for one in summary.PROPERTIES.values() if one.key in column.keys}
    assert "".join(column.values(record)) in ("", ":")
    column.style(record)


def test_filters_need_only_what_can_be_read() -> None:
    assert FILTERED <= KEYS
