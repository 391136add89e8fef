"""The files that describe the D-Bus interfaces, as they must be: ``make interfaces`` writes them.

They are made of the tables that calls are answered from, so they say what Introspect says.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from koi_agent.bus.interfaces import Interface
from koi_agent.bus.introspection import node
from koi_agent.publishers.dbus.interfaces import BACKEND_INTERFACE, INSTANCE_INTERFACE
from koi_agent.publishers.dbus.manager import Manager

FOLDER: Final = Path(__file__).parents[2] / "packaging"


def interfaces() -> Iterator[Interface]:
    """Tell all interfaces that are our own."""
    # What the Manager can do does not depend on what it is given to do it with.
    yield Manager.__new__(Manager).interface()
    yield INSTANCE_INTERFACE
    yield BACKEND_INTERFACE


def files() -> dict[str, str]:
    """Tell what each file must hold, by name."""
    return {f"{shown.name}.xml": node((shown,), ()) for shown in interfaces()}


if __name__ == "__main__":
    for name, text in files().items():
        FOLDER.joinpath(name).write_text(text)
