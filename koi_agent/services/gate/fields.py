"""Copies the named fields of JSON: each filter returns what passes of a value.

A filter returns None for a value of another shape than it expects.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

Filter = Callable[[Any], Any]


def encode(value: Any) -> bytes:
    """Return JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def copy_fields(value: Any, fields: Mapping[str, Filter]) -> Any:
    """Copy the named fields of an object that are there; anything else becomes None."""
    if not isinstance(value, dict):
        return None
    return {name: filter_(value[name]) for name, filter_ in fields.items() if name in value}


def scalar(value: Any) -> Any:
    """Copy a text, a number or a boolean."""
    return value if isinstance(value, str | int | float | bool) else None


def strings(value: Any) -> Any:
    """Copy the texts of a list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else None


def object_of(**fields: Filter) -> Filter:
    """Return a filter for an object with these fields."""
    return lambda value: copy_fields(value, fields)


def list_of(**fields: Filter) -> Filter:
    """Return a filter for a list of objects."""
    return lambda value: (
        [copy_fields(item, fields) for item in value] if isinstance(value, list) else None
    )


def map_of(filter_: Filter) -> Filter:
    """Return a filter for an object whose keys are any names, such as those of networks."""
    return lambda value: (
        {key: filter_(item) for key, item in value.items()} if isinstance(value, dict) else None
    )
