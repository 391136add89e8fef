"""Declares settings as fields of dataclasses, and lists them as one table.

``key`` declares a field that holds a setting, ``section`` a field that holds a section of settings.
``keys`` lists the settings of a dataclass, and ``build`` creates it from their values.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields, replace
from enum import Enum, auto
from functools import partial
from typing import Any, TypeVar

from koi_agent.core.frozen import frozen

_KEY = "koi_agent.config.key"
_SECTION = "koi_agent.config.section"

T = TypeVar("T")


class Assignments(Enum):
    """How several assignments of one key are combined.

    ``LAST``: the last one counts, and an empty one restores the default.
    ``LIST``: they are added, and an empty one restores the default.
    ``EMPTIABLE_LIST``: they are added, and an empty one empties the list.
    """

    LAST = auto()
    LIST = auto()
    EMPTIABLE_LIST = auto()


@frozen(kw_only=True)
class Override:
    """A command-line option and an environment variable that override the files.

    The option overrides the variable. ``read`` parses the text of both.
    """

    variable: str
    option: str
    read: Callable[[str], object]


@frozen(kw_only=True)
class Key:
    """One setting: all facts about it.

    ``default`` is written as in a file, and ``read`` parses such a text or raises ``BadInput``.
    ``comment`` is its description in the shipped koi-runtime.conf. ``attribute`` is the place of
    the value in ``Config``, such as ``health.interval``.
    """

    section: str = ""
    name: str
    default: str
    read: Callable[[str], object]
    comment: str
    assignments: Assignments
    override: Override | None
    attribute: str = ""


@frozen(kw_only=True)
class Section:
    """One section of the file; ``kind`` is its dataclass, ``backend`` True for a backend's."""

    name: str
    kind: type[Any]
    comment: str
    backend: bool


def key(
    name: str,
    default: str,
    read: Callable[[str], T],
    comment: str,
    *,
    assignments: Assignments = Assignments.LAST,
    override: Override | None = None,
) -> T:
    """Declare a dataclass field that holds a setting; see ``Key``."""
    declared = Key(
        name=name,
        default=default,
        read=read,
        comment=comment,
        assignments=assignments,
        override=override,
    )
    return field(default_factory=partial(read, default), metadata={_KEY: declared})


def section(name: str, kind: type[T], comment: str = "", *, backend: bool = False) -> T:
    """Declare a dataclass field that holds a section; see ``Section``."""
    declared = Section(name=name, kind=kind, comment=comment, backend=backend)
    return field(default_factory=kind, metadata={_SECTION: declared})


def keys(kind: type[Any], name: str, prefix: str = "") -> Iterator[Key]:
    """Yield all settings below a dataclass in the order of its fields.

    ``name`` is the section of its own settings, and ``prefix`` is put before their attributes.
    """
    for one in fields(kind):
        if declared := one.metadata.get(_KEY):
            yield replace(declared, section=name, attribute=prefix + one.name)
        elif inner := one.metadata.get(_SECTION):
            yield from keys(inner.kind, inner.name, f"{prefix}{one.name}.")


def sections(kind: type[Any]) -> Mapping[str, Section]:
    """Return the sections of a dataclass by the names of their fields."""
    declared = {one.name: one.metadata.get(_SECTION) for one in fields(kind)}
    return {name: inner for name, inner in declared.items() if inner}


def build(kind: type[T], values: Mapping[str, object], prefix: str = "", **others: object) -> T:
    """Create a dataclass from the values of all its settings, which are keyed by attribute.

    ``others`` are the values of all other fields.
    """
    arguments = dict(others)
    for one in fields(kind):  # type: ignore[arg-type]  # all kinds are dataclasses
        attribute = prefix + one.name
        if one.metadata.get(_KEY):
            arguments[one.name] = values[attribute]
        elif inner := one.metadata.get(_SECTION):
            arguments[one.name] = build(inner.kind, values, f"{attribute}.")
    return kind(**arguments)
