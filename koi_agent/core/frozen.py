"""Frozen data classes with slots that are created fast.

``dataclass(frozen=True, slots=True)`` compiles six methods of each class, one by one: that was a
quarter of the agent's start. ``frozen`` compiles three of them at once, and has closures for the
others, which run rarely.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, Final, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")

_ORDER: Final = {
    "__lt__": operator.lt,
    "__le__": operator.le,
    "__gt__": operator.gt,
    "__ge__": operator.ge,
}


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(
    *, kw_only: bool = False, eq: bool = True, order: bool = False
) -> Callable[[type[T]], type[T]]:
    """Return a decorator that does the same as ``dataclass(frozen=True, slots=True)``.

    A field with ``init=False`` is set by ``__post_init__``. Instances can't be pickled or copied.
    Raises ``TypeError`` for what is not supported: a default of such a field, and ``hash=``.
    """

    def decorated(defined: type[T]) -> type[T]:
        kind: type[Any] = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(
            defined
        )
        for one in fields(kind):
            has_default = (one.default, one.default_factory) != (MISSING, MISSING)
            if (has_default and not one.init) or one.hash is not None:
                raise TypeError(f"{kind.__name__}.{one.name}: not supported by frozen()")
        compared = [one.name for one in fields(kind) if one.compare]
        methods = {
            **_compiled(kind, compared if eq else None),
            **(_order(compared) if order else {}),
            "__repr__": _repr([one.name for one in fields(kind) if one.repr]),
            "__setattr__": _refuse_assignment,
            "__delattr__": _refuse_deletion,
        }
        for name, method in methods.items():
            if name not in vars(defined):
                setattr(kind, name, method)
        return kind

    return decorated


def _compiled(kind: type, compared: Sequence[str] | None) -> dict[str, Callable[..., Any]]:
    """Return ``__init__``, and the methods that compare the fields in ``compared``."""
    known: dict[str, object] = {"_MISSING": MISSING}
    lines = [*_init(kind, known)]
    if compared is not None:
        mine, others = (
            f"({''.join(f'{owner}.{name}, ' for name in compared)})" for owner in ("self", "other")
        )
        lines += [
            "def __eq__(self, other):",
            " if other.__class__ is not self.__class__: return NotImplemented",
            f" return {mine} == {others}",
            f"def __hash__(self): return hash({mine})",
        ]
    methods: dict[str, Callable[..., Any]] = {}
    exec("\n".join(lines), known, methods)  # noqa: S102 - names of fields, which are code too
    methods["__init__"].__annotations__ = {one.name: one.type for one in fields(kind) if one.init}
    return methods


def _init(kind: type, known: dict[str, object]) -> Iterator[str]:
    """Yield the lines of ``__init__``, and add to ``known`` what they use."""
    positional: list[str] = ["self"]
    keywords: list[str] = []
    body: list[str] = []
    for one in fields(kind):
        name = given = one.name
        # A slot's own descriptor stores the value: the class refuses assignments.
        known[f"_set_{name}"] = getattr(kind, name).__set__
        parameter = name
        if one.default is not MISSING:
            known[f"_default_{name}"] = one.default
            parameter = f"{name}=_default_{name}"
        elif one.default_factory is not MISSING:
            known[f"_make_{name}"] = one.default_factory
            parameter = f"{name}=_MISSING"
            given = f"_make_{name}() if {name} is _MISSING else {name}"
        if one.init:
            (keywords if one.kw_only else positional).append(parameter)
            body.append(f" _set_{name}(self, {given})")
    if keywords:
        keywords.insert(0, "*")
    yield f"def __init__({', '.join(positional + keywords)}):"
    yield from body
    yield " self.__post_init__()" if hasattr(kind, "__post_init__") else " pass"


def _order(compared: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """Return the methods that order instances by the fields in ``compared``."""
    key = attrgetter(*compared)

    def ordered(compare: Callable[[Any, Any], Any]) -> Callable[..., Any]:
        def method(self: object, other: object) -> Any:
            if other.__class__ is not self.__class__:
                return NotImplemented
            return compare(key(self), key(other))

        return method

    return {name: ordered(compare) for name, compare in _ORDER.items()}


def _repr(names: Sequence[str]) -> Callable[[object], str]:
    def method(self: object) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({shown})"

    return method


def _refuse_assignment(_self: object, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(_self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
