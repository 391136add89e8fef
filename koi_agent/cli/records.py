"""Typed access to what the agent sends.

A value that is missing or of another type, as an agent of another version may send it, is read
as empty.
"""

from typing import Any

from koi_agent.cli.client import Properties


def backend(values: Properties) -> dict[str, Any]:
    """Return the record of a backend."""
    from koi_agent.core.schema.backend import (  # noqa: PLC0415 - few commands need it
        BACKEND_PROPERTIES,
    )

    return BACKEND_PROPERTIES.record(values)


def text(values: Properties, name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def number(values: Properties, name: str) -> int:
    value = values.get(name)
    return value if isinstance(value, int) else 0


def items(values: Properties, name: str) -> list[Any]:
    value = values.get(name)
    return value if isinstance(value, list) else []


def dicts(values: Properties, name: str) -> list[dict[str, Any]]:
    return [item for item in items(values, name) if isinstance(item, dict)]


def mapping(values: Properties, name: str) -> dict[str, Any]:
    value = values.get(name)
    return value if isinstance(value, dict) else {}


def refusals(explanation: Properties) -> list[dict[str, Any]]:
    """Return the refused values of an explanation, as ``Refusal`` has them."""
    return [
        {name: text(item, name) for name in ("key", "reason", "capability", "part")}
        for item in dicts(explanation, "refused")
    ]
