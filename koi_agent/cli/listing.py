"""``koi-runtime list``: instances in a table."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Self

from koi_agent.cli import syntax
from koi_agent.cli.arguments import Arguments, UsageError
from koi_agent.cli.columns import COLUMNS, DEFAULT, announced
from koi_agent.cli.output import Output, complain
from koi_agent.cli.table import Cell, table
from koi_agent.core.text import printable

Record = dict[str, Any]

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
        filters = (
            (self.backends, record["backend"]),
            (self.states, record["state"]),
            (self.healths, record["health"]),
        )
        matches = all(not admitted or value in admitted for admitted, value in filters)
        return matches and (not self.announced or bool(announced(record)))


def act(arguments: Arguments, output: Output) -> int:
    filters = Filters.of(arguments)
    chosen = words("--columns", arguments.columns) or DEFAULT
    (order,) = words("--sort", arguments.sort) or ("name",)
    from koi_agent.cli import instances, resolve  # noqa: PLC0415

    known = instances.read(arguments.agent)
    meant, missing = instances.named(known, arguments.names)
    records = [one for one in meant if filters.admit(one)]
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
        rows = [[cell(record, column) for column in chosen] for record in records]
        table(output, header, rows, "instance", full=arguments.full, bound=bound)
    output.flush()
    for word in missing:
        complain(str(resolve.none(word)))
    return 1 if missing else 0


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


def cell(record: Record, column: str) -> Cell:
    return Cell(",".join(values(record, column)), COLUMNS[column].style(record))
