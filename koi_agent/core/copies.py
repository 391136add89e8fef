"""Changed copies of frozen data classes with slots, for the few places that make thousands.

``dataclasses.replace`` passes each field through ``__init__``, which takes four times as long.
"""

from dataclasses import fields
from operator import attrgetter
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Copier(Generic[T]):
    """Copies the values of one class, which must be frozen and have slots.

    ``__post_init__`` is not called: fields that it sets are copied too.
    """

    def __init__(self, kind: type[T]) -> None:
        names = [one.name for one in fields(kind)]  # type: ignore[arg-type]  # a data class
        self._kind = kind
        self._read = attrgetter(*names)
        # A slot's own descriptor stores the value: the class refuses assignments.
        self._slots = {name: getattr(kind, name).__set__ for name in names}
        self._stores = tuple(self._slots.values())

    def __call__(self, value: T, **changes: Any) -> T:
        """Return a copy with some fields changed; raise ``KeyError`` for an unknown field."""
        copy = object.__new__(self._kind)
        for store, field in zip(self._stores, self._read(value), strict=True):
            store(copy, field)
        for name, field in changes.items():
            self._slots[name](copy, field)
        return copy

    def sharing(self, value: T, known: T) -> T:
        """Return a copy of a value with the objects of ``known`` where their fields are equal.

        Thousands of values that are kept in place of earlier ones then take less memory.
        """
        copy = object.__new__(self._kind)
        for store, field, other in zip(
            self._stores, self._read(value), self._read(known), strict=True
        ):
            store(copy, other if field == other else field)
        return copy
