"""``koi-runtime list``: instances in a table."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from koi_agent.cli import resolve
from koi_agent.cli.arguments import Arguments, UsageError
from koi_agent.cli.client import agent
from koi_agent.cli.columns import COLUMNS, DEFAULT, announced
from koi_agent.cli.output import Output, complain
from koi_agent.cli.table import Cell, table
from koi_agent.config import BACKENDS
from koi_agent.core import lookup
from koi_agent.core.instance import Health, InstanceState
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.core.text import printable

Record = dict[str, Any]

BOUND = 160
"""Columns of a table that is written into a pipe, where the first column is never cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The instances that are listed; an empty collection admits all values."""

    backends: Collection[str] = ()
    states: Collection[str] = ()
    healths: Collection[str] = ()
    announced: bool = False

    @classmethod
    def of(cls, arguments: Arguments) -> Self:
        """Return the filters of a command line; raise ``UsageError``."""
        return cls(
            backends=words("--backend", arguments.backends, BACKENDS),
            states=words("--state", arguments.state, [str(state) for state in InstanceState]),
            healths=words("--health", arguments.health, [str(health) for health in Health]),
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
    chosen = words("--columns", arguments.columns, COLUMNS) or DEFAULT
    (order,) = words("--sort", arguments.sort, COLUMNS) or ("name",)
    known = asyncio.run(read(arguments.agent))
    meant, missing = named(known, arguments.names)
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


def words(option: str, given: str | None, known: Iterable[str]) -> Sequence[str]:
    """Return the words of an option, separated by commas; raise ``UsageError`` for others."""
    accepted = list(known)
    found = [word.strip().lower() for word in (given or "").split(",") if word.strip()]
    for word in found:
        if word not in accepted:
            raise UsageError(f"{option}: not a known word: '{word}'; write {', '.join(accepted)}")
    return found


async def read(scope: str) -> list[Record]:
    """Return the records of all instances, sorted by name."""
    async with agent(scope) as client:
        records = [INSTANCE_PROPERTIES.record(values) for values in await client.instances()]
    return sorted(records, key=lambda record: (record["name"], record["backend"], record["id"]))


def named(records: Sequence[Record], names: Sequence[str]) -> tuple[list[Record], list[str]]:
    """Return the records that any of the words means, and the words that mean none."""
    if not names:
        return list(records), []
    subjects = [resolve.subject(record) for record in records]
    found = {word: lookup.find(word, subjects) for word in names}
    keys = {str(one.key) for some in found.values() for one in some}
    meant = [record for record in records if record["key"] in keys]
    return meant, [word for word, some in found.items() if not some]


def values(record: Record, column: str) -> list[str]:
    """Return the values of an instance in a column."""
    return list(COLUMNS[column].values(record))


def cell(record: Record, column: str) -> Cell:
    return Cell(",".join(values(record, column)), COLUMNS[column].style(record))
