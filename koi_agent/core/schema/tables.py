"""Tables of properties: a row holds all facts that D-Bus, HTTP, the command and the manual need.

A property has two forms. Its D-Bus value is made by the row's ``get`` from the agent's own
object, or read from the bus by a client. Its JSON form is made from the D-Bus value alone, by
``Table.record``, on both sides: so the JSON of HTTP and of the command cannot differ.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from enum import Enum, StrEnum
from operator import attrgetter
from typing import Any, Generic, TypeVar

from koi_agent.core.frozen import frozen

T = TypeVar("T")

Schema = Mapping[str, Any]
"""A JSON Schema; references are those of an OpenAPI document."""
Values = Mapping[str, Any]
"""D-Bus values by D-Bus name, with variants unwrapped."""


class ChangeSignal(StrEnum):
    """How a change is signalled: org.freedesktop.DBus.Property.EmitsChangedSignal."""

    VALUE = "true"
    INVALIDATES = "invalidates"
    CONST = "const"
    NONE = "false"


class Nesting(Enum):
    """How dictionaries stand in a value."""

    ONE = "a{sv}"
    LIST = "aa{sv}"
    MAP = "a{sv} of a{sv}"


@frozen()
class Type:
    """A type of values.

    ``python`` is the class of its D-Bus values; calling it makes the value for "not known".
    ``to_json`` converts a D-Bus value of that class to its JSON form; without it they are the
    same. A type of dictionaries has the ``table`` of their entries.
    """

    signature: str
    python: type
    schema: Schema
    to_json: Callable[[Any], Any] | None = None
    table: "Table[Any] | None" = None
    nesting: Nesting = Nesting.ONE

    @property
    def is_basic(self) -> bool:
        """True for D-Bus's basic types, whose values fit in a line."""
        return len(self.signature) == 1


@frozen()
class Row(Generic[T]):
    """A property of a ``T``, or an entry of a dictionary.

    ``key`` is its name in JSON, "" where JSON leaves it out. ``name`` is its name on D-Bus.
    ``get`` returns the D-Bus value, or ``None`` to leave an entry of a dictionary out. It reads the
    attributes ``of`` the object, by default the one called ``key``. A property
    that D-Bus leaves out has neither: ``derive`` makes its value from those of the others.
    ``help`` is a sentence for manuals and descriptions. ``heading`` is its label in
    ``koi-runtime show``. An ``optional`` property that is not known is left out of JSON.
    """

    key: str
    name: str
    type: Type
    get: Callable[[T], Any] | None
    help: str
    of: tuple[str, ...] | None = field(default=None, kw_only=True)
    signal: ChangeSignal = field(default=ChangeSignal.VALUE, kw_only=True)
    heading: str = field(default="", kw_only=True)
    optional: bool = field(default=False, kw_only=True)
    derive: Callable[[Values], Any] | None = field(default=None, kw_only=True)


@frozen()
class Table(Generic[T]):
    """The properties of a kind of object; ``name`` is that of its JSON Schema."""

    name: str
    help: str
    rows: tuple[Row[T], ...]
    # The fields of the rows that the loops below need: these run for each published instance.
    _getters: tuple[Any, ...] = field(init=False, repr=False, compare=False)
    _columns: tuple[Any, ...] = field(init=False, repr=False, compare=False)
    _sources: tuple[Any, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        columns = (
            (row.key, row.name, row.type.python, row.type.to_json, row.optional, row.derive)
            for row in self.rows
            if row.key
        )
        object.__setattr__(self, "_columns", tuple(columns))
        getters = ((row.name, row.get) for row in self.rows if row.get)
        object.__setattr__(self, "_getters", tuple(getters))
        sources = (
            (row, row.get, attrgetter(*(row.of or (row.key,))))
            for row in self.rows
            if row.get and row.of != ()
        )
        object.__setattr__(self, "_sources", tuple(sources))

    def values(self, subject: T) -> dict[str, Any]:
        """Return the D-Bus values of an object."""
        return {name: value for name, get in self._getters if (value := get(subject)) is not None}

    def differences(self, old: T, new: T) -> Iterator[Row[T]]:
        """Yield the rows whose D-Bus values differ; values are made only of what differs."""
        for row, get, source in self._sources:
            if source(old) != source(new) and get(old) != get(new):
                yield row

    def record(self, values: Values) -> dict[str, Any]:
        """Return the JSON form of an object's D-Bus values.

        A value that is missing or of another class counts as not known: an agent of another
        version may have sent it.
        """
        record = {}
        for key, name, python, to_json, optional, derive in self._columns:
            value = derive(values) if derive else values.get(name)
            if type(value) is not python:
                if optional:
                    continue
                value = python()
            if to_json:
                value = to_json(value)
                if value is None and optional:
                    continue
            record[key] = value
        return record

    def row(self, name: str) -> Row[T] | None:
        """Return the property with a D-Bus name; ``None`` for one of another version."""
        return next((row for row in self.rows if row.name == name), None)

    def schema(self) -> Schema:
        """Return the JSON Schema of what ``record`` returns."""
        rows = [row for row in self.rows if row.key]
        return {
            "type": "object",
            "description": self.help,
            "properties": {row.key: {**row.type.schema, "description": row.help} for row in rows},
            "required": [row.key for row in rows if not row.optional],
            "additionalProperties": False,
        }


def dictionary(table: Table[Any]) -> Type:
    """Return the type of a dictionary with the entries of a table."""
    return Type("a{sv}", dict, _reference(table), table.record, table)


def list_of(table: Table[Any]) -> Type:
    """Return the type of a list of dictionaries."""
    schema = {"type": "array", "items": _reference(table)}

    def to_json(value: list[Any]) -> list[Any]:
        return [table.record(each) for each in value if isinstance(each, dict)]

    return Type("aa{sv}", list, schema, to_json, table, Nesting.LIST)


def map_of(table: Table[Any]) -> Type:
    """Return the type of a map from text to dictionaries."""
    schema = {"type": "object", "additionalProperties": _reference(table)}

    def to_json(value: dict[str, Any]) -> dict[str, Any]:
        return {key: table.record(each) for key, each in value.items() if isinstance(each, dict)}

    return Type("a{sv}", dict, schema, to_json, table, Nesting.MAP)


def _reference(table: Table[Any]) -> Schema:
    return {"$ref": f"#/components/schemas/{table.name}"}
