"""The part of an instance's record that tables and filters of ``list`` need.

It comes in columns, which the agent, the bus and this command handle several times as fast as whole
records. Those are made by ``core/schema``, which takes longer to load than this command to run.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from koi_agent.cli.client import Client, OtherVersion, agent, malformed

Record = dict[str, Any]


class Source(NamedTuple):
    """The column that the values of a key come from, and the class of its values.

    ``convert`` makes the value of the record.
    """

    column: str
    python: type = str
    convert: Callable[[Any], Any] | None = None


def _ports(column: list[Any]) -> list[Record]:
    return [
        {"host_port": host, "container_port": container, "protocol": protocol}
        for host, container, protocol in column
    ]


def _announcements(names: list[Any]) -> list[Record]:
    return [{"name": name, "status": "announced"} for name in _texts(names)]


def _texts(values: list[Any]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise TypeError("not a text")
    return values


SOURCES: Final[Mapping[str, Source]] = {
    "id": Source("Id"),
    "name": Source("Name"),
    "backend": Source("Backend"),
    "state": Source("State"),
    "stale": Source("Stale", bool),
    "health": Source("Health"),
    "ports": Source("ShortPorts", list, _ports),
    "ips": Source("Addresses", list, _texts),
    "announcements": Source("Announced", list, _announcements),
    "image": Source("Image"),
    "project": Source("Project"),
    "unit": Source("Unit"),
    "aliases": Source("Aliases", list, _texts),
    "problems": Source("Problems", list, _texts),
}
"""The source of each key."""


def read(scope: str, keys: Iterable[str]) -> list[Record]:
    """Return records of all instances, with these keys or more; raise ``KoiError``."""
    with agent(scope) as client:
        try:
            return _records(client, sorted(keys))
        except OtherVersion:
            # Imported here because it loads the schema.
            from koi_agent.cli import instances  # noqa: PLC0415

            return instances.of(client)


def _records(client: Client, keys: list[str]) -> list[Record]:
    columns = client.columns([SOURCES[key].column for key in keys])
    try:
        values = [_values(columns[SOURCES[key].column], SOURCES[key]) for key in keys]
        return [dict(zip(keys, row, strict=True)) for row in zip(*values, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        raise malformed("GetColumns") from error


def _values(column: list[Any], source: Source) -> list[Any]:
    """Return the values of a key; raise ``TypeError`` or ``ValueError`` for others."""
    if not all(type(value) is source.python for value in column):
        raise TypeError(source.column)
    return (
        [source.convert(value) if value else value for value in column]
        if source.convert
        else column
    )
