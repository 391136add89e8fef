"""The part of an instance's record that tables and filters of ``list`` need.

A table of thousands is printed three times as fast if the other properties are not read. Whole
records are made by ``core/schema``, which takes longer to load than this command to run.
"""

from collections.abc import Iterable
from typing import Any, Final

from koi_agent.bus.selection import Selection, Wanted
from koi_agent.cli.client import agent

Record = dict[str, Any]

PORT: Final[Selection] = {
    "host_port": Wanted("host_port", "q", 0),
    "container_port": Wanted("container_port", "q", 0),
    "protocol": Wanted("protocol", "s", ""),
}
ANNOUNCEMENT: Final[Selection] = {
    "name": Wanted("name", "s", ""),
    "status": Wanted("status", "s", ""),
}
PROPERTIES: Final[Selection] = {
    "Id": Wanted("id", "s", ""),
    "Name": Wanted("name", "s", ""),
    "Backend": Wanted("backend", "s", ""),
    "State": Wanted("state", "s", ""),
    "Stale": Wanted("stale", "b", default=False),
    "Health": Wanted("health", "s", ""),
    "Ports": Wanted("ports", PORT, ()),
    "Addresses": Wanted("ips", "as", ()),
    "Announcements": Wanted("announcements", ANNOUNCEMENT, ()),
    "Image": Wanted("image", "s", ""),
    "Project": Wanted("project", "s", ""),
    "Unit": Wanted("unit", "s", ""),
    "Aliases": Wanted("aliases", "as", ()),
    "Problems": Wanted("problems", "as", ()),
}
"""The properties by name, each with its key and its signature, as in ``core/schema``."""


def read(scope: str, keys: Iterable[str]) -> list[Record]:
    """Return records of all instances, with these keys only."""
    wanted = set(keys)
    selection = {name: one for name, one in PROPERTIES.items() if one.key in wanted}
    with agent(scope) as client:
        return client.selected(selection)
