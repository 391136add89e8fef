"""The D-Bus interfaces of instances and backends, made from the schema's tables."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from koi_agent.bus.interfaces import Emits, Interface, Property, interface
from koi_agent.bus.marshalling import Typed
from koi_agent.core import dbus_names
from koi_agent.core.schema.backend import BACKEND_PROPERTIES
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.core.schema.tables import ChangeSignal, Nesting, Table, Type

T = TypeVar("T")
Convert = Callable[[Any], Any]


def _converter(kind: Type) -> Convert | None:
    """Return what wraps a value's dictionaries in variants; ``None`` if it has no dictionary."""
    if kind.table is None:
        return None
    wrap = _dictionary(kind.table)
    match kind.nesting:
        case Nesting.ONE:
            return wrap
        case Nesting.LIST:
            return lambda values: [wrap(value) for value in values]
        case Nesting.MAP:
            return lambda values: {key: Typed("a{sv}", wrap(each)) for key, each in values.items()}


def _dictionary(table: Table[Any]) -> Convert:
    """Return what makes an ``a{sv}`` of the values of a table's entries."""
    kinds = {row.name: (row.type.signature, _converter(row.type)) for row in table.rows}

    def wrap(values: dict[str, Any]) -> dict[str, Typed]:
        wrapped = {}
        for name, value in values.items():
            signature, convert = kinds[name]
            wrapped[name] = Typed(signature, convert(value) if convert else value)
        return wrapped

    return wrap


def _property(
    name: str, kind: Type, emits: ChangeSignal, get: Callable[[Any], Any], text: str
) -> Property:
    convert = _converter(kind)
    if convert is None:
        return Property(name, kind.signature, Emits(emits), get, help=text)
    return Property(
        name, kind.signature, Emits(emits), lambda subject: convert(get(subject)), help=text
    )


def _interface(name: str, table: Table[Any]) -> Interface:
    """Return the interface with the properties of a table."""
    properties = [
        _property(row.name, row.type, row.signal, row.get, row.help)
        for row in table.rows
        if row.get
    ]
    return interface(name, *properties)


INSTANCE_INTERFACE = _interface(dbus_names.INSTANCE, INSTANCE_PROPERTIES)
BACKEND_INTERFACE = _interface(dbus_names.BACKEND, BACKEND_PROPERTIES)


def changed(table: Table[T], old: T, new: T) -> Sequence[str]:
    """Return the names of the properties that differ and whose changes are signalled."""
    return [row.name for row in table.differences(old, new) if row.signal is not ChangeSignal.NONE]
