"""Which instances are meant by what was typed, and what was asked of each."""

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
"""Asks for something of the instance at an object path."""

WAYS: Sequence[Callable[[Row], str]] = (
    lambda row: row.key,
    lambda row: row.id,
    lambda row: row.name,
)
"""What somebody may mean by a word, the most exact first."""


class NotFound(KoiError):
    """No instance is meant, or more than one may be."""


def tell(
    arguments: Arguments, output: Output, read: Read, block: Callable[[Record, Output], str]
) -> int:
    """Write a block for each instance that is meant, and complain of words that mean none."""
    found, troubles = asyncio.run(ask(scope(arguments.scope), arguments.names, read))
    if output.mode != "off":
        output.json(found)
    else:
        output.write_blocks(block(record, output) for record in found)
    output.flush()
    for trouble in troubles:
        complain(trouble)
    return 1 if troubles else 0


async def ask(scope: str, names: Iterable[str], read: Read) -> tuple[list[Record], list[str]]:
    """Find instances; returns their records, and a sentence for each that was not found."""
    found: list[Record] = []
    troubles: list[str] = []
    async with agent(scope) as service:
        rows = await service.rows()
        for name in names:
            try:
                found.append(await _record(service, rows, name, read))
            except NotFound as trouble:
                troubles.append(str(trouble))
    return found, troubles


async def _record(service: Client, rows: Iterable[Row], name: str, read: Read) -> Record:
    """Read of the one that is meant, which may have stopped since it was listed."""
    try:
        return await read(service, await path(service, rows, name))
    except CallError as error:
        if error.name in GONE:
            raise NotFound(
                f"no instance named '{name}' (koi-runtime list tells all there are)"
            ) from error
        raise


async def path(service: Client, rows: Iterable[Row], name: str) -> str:
    """Find the one instance that is meant; raises ``NotFound``, or ``CallError`` for none."""
    for way in WAYS:
        if meant := [row for row in rows if way(row) == name]:
            return only(meant, name)
    return await service.of_unit(name)


def only(meant: Sequence[Row], name: str) -> str:
    if len(meant) > 1:
        keys = ", ".join(sorted(row.key for row in meant))
        raise NotFound(f"'{name}' is more than one instance, name one of: {keys}")
    return meant[0].path
