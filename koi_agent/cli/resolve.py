"""Which instances the words on the command line mean."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from koi_agent.bus.client import CallError
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import GONE, Client, Row, agent
from koi_agent.cli.output import Output, complain
from koi_agent.config import scope
from koi_agent.core.errors import KoiError

Record = dict[str, Any]
Read = Callable[[Client, str], Awaitable[Record]]
"""Reads a record of the instance at an object path."""

MATCHES: Sequence[Callable[[Row], str]] = (
    lambda row: row.key,
    lambda row: row.id,
    lambda row: row.name,
)
"""What a word is compared with, the most exact first."""


class NotFound(KoiError):
    """A word means no instance, or more than one."""


def write_each(
    arguments: Arguments, output: Output, read: Read, block: Callable[[Record, Output], str]
) -> int:
    """Write each instance that is named; returns 1 if a word means none or several, else 0."""
    found, errors = asyncio.run(read_each(scope(arguments.scope), arguments.names, read))
    if output.mode != "off":
        output.json(found)
    else:
        output.write_blocks(block(record, output) for record in found)
    output.flush()
    for error in errors:
        complain(error)
    return 1 if errors else 0


async def read_each(scope: str, names: Iterable[str], read: Read) -> tuple[list[Record], list[str]]:
    """Return the records of the instances that are named, and an error for each other word."""
    found: list[Record] = []
    errors: list[str] = []
    async with agent(scope) as client:
        rows = await client.rows()
        for name in names:
            try:
                found.append(await _record(client, rows, name, read))
            except NotFound as error:
                errors.append(str(error))
    return found, errors


async def _record(client: Client, rows: Iterable[Row], name: str, read: Read) -> Record:
    """Read one record; raises ``NotFound``, also if the instance stopped since it was listed."""
    try:
        return await read(client, await path(client, rows, name))
    except CallError as error:
        if error.name in GONE:
            raise NotFound(
                f"no instance named '{name}' (koi-runtime list shows all instances)"
            ) from error
        raise


async def path(client: Client, rows: Iterable[Row], name: str) -> str:
    """Return the path of the instance that a word means.

    Raises ``NotFound`` if it means several, and ``CallError`` if it means none.
    """
    for match in MATCHES:
        if matching := [row for row in rows if match(row) == name]:
            return only(matching, name)
    return await client.of_unit(name)


def only(matching: Sequence[Row], name: str) -> str:
    """Return the path of the one row; raises ``NotFound`` if there are more."""
    if len(matching) > 1:
        keys = ", ".join(sorted(row.key for row in matching))
        raise NotFound(f"'{name}' is more than one instance, name one of: {keys}")
    return matching[0].path
