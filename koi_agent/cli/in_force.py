"""Compares the settings of the files with those that are in force in the agent."""

from collections.abc import Mapping, Sequence
from typing import Any

from koi_agent.bus.calls import BUS, BUS_PATH
from koi_agent.cli import records
from koi_agent.cli.client import Client, NoAnswer, Properties, bus
from koi_agent.config import Loaded, Setting
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT
from koi_agent.core.errors import ConfigError

Place = tuple[str, str]
"""The section and the name of a key."""
Values = Mapping[Place, Sequence[tuple[str, str]]]
"""Values with their origins, by place; several assignments of a list have one each."""


def ask(scope: str) -> Properties | None:
    """Return the agent's properties, or ``None`` if no agent answers; none is started."""
    try:
        with bus(scope) as link:
            (is_owned,) = link.call((BUS, BUS_PATH, BUS), "NameHasOwner", "s", (NAME,))
            return Client(link).properties(ROOT, MANAGER) if is_owned else None
    except (NoAnswer, ConfigError):
        return None


def settings(manager: Properties) -> Values | None:
    """Return the settings in force; ``None`` if the agent's version has no such property."""
    found: dict[Place, list[tuple[str, str]]] = {}
    for row in records.items(manager, "Settings"):
        match list(row):
            case [str(section), str(key), str(value), str(origin)]:
                found.setdefault((section, key), []).append((value, origin))
            case _:
                pass
    return found or None


def of_files(loaded: Loaded) -> Values:
    """Return the settings of the files in the form of ``settings``."""
    found: dict[Place, list[tuple[str, str]]] = {}
    for one in loaded.settings:
        found.setdefault(place(one), []).append((one.value, str(one.origin)))
    return found


def place(setting: Setting) -> Place:
    return setting.section, setting.key


def differing(files: Values, in_force: Values) -> Sequence[Place]:
    """Return the places whose values in force are not those of the files.

    Settings that an option or a variable of either process overrides are not compared.
    """
    return [
        key
        for key, values in files.items()
        if key in in_force
        and not any(_is_overriding(origin) for _, origin in (*values, *in_force[key]))
        and [value for value, _ in values] != [value for value, _ in in_force[key]]
    ]


def _is_overriding(origin: str) -> bool:
    """Return True if an origin is an option or a variable, and neither a file nor the default."""
    return not origin.startswith("/") and origin != "default"


def text(key: Place, values: Sequence[tuple[str, Any]]) -> str:
    """Format the values of a key as assignments, on one line."""
    return ", ".join(f"{key[1]}={value} ({origin})" for value, origin in values)
