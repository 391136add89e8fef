"""The columns of a list of instances; a new column is a new row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from koi_agent.cli import formatting
from koi_agent.cli.output import Style
from koi_agent.core.titles import names_of

DEFAULT: Final = ("name", "backend", "state", "health", "ports", "addresses", "announced")


def _plain(_record: formatting.Record) -> Style:
    return Style.PLAIN


class Column(NamedTuple):
    """A column: ``values`` returns the values of an instance, each a text for one line.

    ``keys`` are the keys of the record that the column needs.
    """

    keys: Sequence[str]
    values: Callable[[formatting.Record], Iterable[str]]
    style: Callable[[formatting.Record], Style] = _plain


def _text(key: str) -> Column:
    """Return the column of a text, which may not be known."""
    return Column((key,), lambda record: [str(record.get(key) or "")])


def _texts(key: str) -> Column:
    return Column((key,), lambda record: record[key])


def _state_style(record: formatting.Record) -> Style:
    return formatting.quiet_style("stale" if record["stale"] else record["state"])


def announced(record: formatting.Record) -> Sequence[str]:
    """Return the names under which an instance is announced: host names, then other services."""
    titles = [one["name"] for one in record["announcements"] if one["status"] == "announced"]
    if not titles:
        return ()
    firsts = {title: names_of(title)[1] for title in titles}
    hosts = [title for title in titles if title == f"{firsts[title]}.local"]
    services = [firsts[title] for title in titles if title not in hosts]
    labels = {firsts[title].casefold() for title in hosts}
    return list(dict.fromkeys((*hosts, *(one for one in services if one.casefold() not in labels))))


COLUMNS: Final[Mapping[str, Column]] = {
    "name": _text("name"),
    "backend": _text("backend"),
    "state": Column(("state", "stale"), lambda record: [formatting.state(record)], _state_style),
    "health": Column(
        ("health",),
        lambda record: [record["health"]],
        lambda record: formatting.quiet_style(record["health"]),
    ),
    "ports": Column(("ports",), formatting.short_ports),
    "addresses": _texts("ips"),
    "announced": Column(("announcements",), announced),
    "id": _text("id"),
    "key": Column(("backend", "id"), lambda record: [f"{record['backend']}:{record['id']}"]),
    "unit": _text("unit"),
    "aliases": _texts("aliases"),
    "image": _text("image"),
    "project": _text("project"),
    "problems": _texts("problems"),
}
"""Columns by name, as in ``--columns``; their headers are the names in upper case."""
