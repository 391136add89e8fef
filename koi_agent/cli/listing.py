"""``koi-runtime list``: instances in a table."""

import gc
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, Self

from koi_agent.cli import summary, syntax
from koi_agent.cli.arguments import Arguments, UsageError
from koi_agent.cli.columns import COLUMNS, DEFAULT, announced
from koi_agent.cli.output import Output, complain
from koi_agent.cli.table import Cell, table
from koi_agent.core.text import printable

Record = dict[str, Any]

FILTERED = frozenset({"name", "backend", "id", "state", "health", "announcements"})
"""The keys by which records are filtered and sorted."""
BOUND = 160
"""Columns of a table that is written into a pipe, where the first column is never cut."""


class Filters(NamedTuple):
    """The instances that are listed; an empty collection admits all values."""

    backends: Collection[str] = ()
    states: Collection[str] = ()
    healths: Collection[str] = ()
    announced: bool = False

    @classmethod
    def of(cls, arguments: Arguments) -> Self:
        """Return the filters of a command line; raise ``UsageError``."""
        return cls(
            backends=words("--backend", arguments.backends),
            states=words("--state", arguments.state),
            healths=words("--health", arguments.health),
            announced=arguments.announced,
        )

    def admit(self, record: Record) -> bool:
        """Return True if an instance is listed."""
        return (
            (not self.backends or record["backend"] in self.backends)
            and (not self.states or record["state"] in self.states)
            and (not self.healths or record["health"] in self.healths)
            and (not self.announced or bool(announced(record)))
        )


def act(arguments: Arguments, output: Output) -> int:
    filters = Filters.of(arguments)
    chosen = words("--columns", arguments.columns) or DEFAULT
    (order,) = words("--sort", arguments.sort) or ("name",)
    gc.disable()  # it costs a tenth of a long list, which has no cycles
    known, errors = read(arguments, (*chosen, order))
    records = sorted(filter(filters.admit, known), key=by_name)
    if order != "name":
        records.sort(key=lambda record: values(record, order))
    if output.mode != "off":
        output.json(records)
    elif arguments.quiet:
        shown = chosen if arguments.columns else ("name",)
        for record in records:
            for value in (value for column in shown for value in values(record, column)):
                output.write(printable(value))
    else:
        header = [column.upper() for column in chosen]
        bound = 0 if arguments.full else BOUND
        columns = [COLUMNS[name] for name in chosen]
        rows = [
            [Cell(",".join(one.values(record)), one.style(record)) for one in columns]
            for record in records
        ]
        table(output, header, rows, "instance", full=arguments.full, bound=bound)
    output.flush()
    for error in errors:
        complain(error)
    return 1 if errors else 0


def read(arguments: Arguments, columns: Iterable[str]) -> tuple[Sequence[Record], list[str]]:
    """Return the records of the instances that are meant, and an error for each word without any.

    For a table of all instances, they have only the keys that its columns and filters need.
    """
    if arguments.names or arguments.json != "off":
        # Imported here because a table starts twice as fast without it.
        from koi_agent.cli import instances, resolve  # noqa: PLC0415

        meant, missing = instances.named(instances.read(arguments.agent), arguments.names)
        return meant, [str(resolve.none(word)) for word in missing]
    keys = {key for column in columns for key in COLUMNS[column].keys}
    return summary.read(arguments.agent, keys | FILTERED), []


def by_name(record: Record) -> tuple[str, str, str]:
    """Return the key by which records are sorted: their names are not unique."""
    return record["name"], record["backend"], record["id"]


def words(flag: str, given: str | None) -> Sequence[str]:
    """Return the words of an option, separated by commas; raise ``UsageError`` for others."""
    found = [word.strip().lower() for word in (given or "").split(",") if word.strip()]
    if found:
        (option,) = (option for option in syntax.LIST if flag in option.flags)
        for word in found:
            if word not in option.words:
                accepted = ", ".join(option.words)
                raise UsageError(f"{flag}: not a known word: '{word}'; write {accepted}")
    return found


def values(record: Record, column: str) -> list[str]:
    """Return the values of an instance in a column."""
    return list(COLUMNS[column].values(record))
