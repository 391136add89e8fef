"""The files in packaging/ that describe the D-Bus interfaces; ``make interfaces`` writes them.

They are made from the tables that calls are answered from, so they equal the introspection data.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from koi_agent.bus.interfaces import Interface
from koi_agent.bus.introspection import node
from koi_agent.core.event_queue import EventQueue
from koi_agent.core.reach.network import UNKNOWN
from koi_agent.publishers.dbus.configuration import ConfigurationStatus
from koi_agent.publishers.dbus.interfaces import BACKEND_INTERFACE, INSTANCE_INTERFACE
from koi_agent.publishers.dbus.manager import Manager, ManagerActions

FOLDER: Final = Path(__file__).parents[2] / "packaging"


def interfaces() -> Iterator[Interface]:
    """Yield the interfaces of the agent's own."""
    actions = ManagerActions(
        _resync, _reload, lambda _key: (), lambda: UNKNOWN, ConfigurationStatus
    )
    yield Manager(EventQueue(), dict, lambda _unit: (), actions).interface()
    yield INSTANCE_INTERFACE
    yield BACKEND_INTERFACE


async def _resync(_backend: str) -> Mapping[str, Mapping[str, str]]:
    return {}


async def _reload() -> None:
    """Do nothing: the interface is only described."""


def files() -> dict[str, str]:
    """Return the content of each file by name."""
    return {f"{each.name}.xml": node((each,), ()) for each in interfaces()}


if __name__ == "__main__":
    for name, text in files().items():
        FOLDER.joinpath(name).write_text(text)
