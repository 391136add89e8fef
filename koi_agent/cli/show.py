"""``koi-runtime show``: all that is known of some instances, found by name, id or unit."""

import asyncio
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from koi_agent.bus.client import CallError
from koi_agent.cli import records, wording
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.output import Output, complain
from koi_agent.cli.service import GONE, INSTANCE, Row, Service, agent
from koi_agent.config import scope
from koi_agent.core.errors import KoiError
from koi_agent.core.text import printable

WAYS: Sequence[Callable[[Row], str]] = (
    lambda row: row.key,
    lambda row: row.id,
    lambda row: row.name,
)
"""What somebody may mean by a word, the most exact first."""


class NotFound(KoiError):
    """No instance is meant, or more than one may be."""


def takes(parser: ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="+", metavar="NAME|ID", help="a name, an id, BACKEND:ID, or a unit"
    )


def act(arguments: Arguments, output: Output) -> int:
    found, troubles = asyncio.run(ask(scope(arguments.scope), arguments.names))
    if output.mode != "off":
        output.json(found)
    else:
        output.write_blocks(block(record, output) for record in found)
    output.flush()
    for trouble in troubles:
        complain(trouble)
    return 1 if troubles else 0


async def ask(scope: str, names: Iterable[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Find instances; returns their records, and a sentence for each that was not found."""
    found: list[dict[str, Any]] = []
    troubles: list[str] = []
    async with agent(scope) as service:
        rows = await service.rows()
        for name in names:
            try:
                found.append(await record(service, await path(service, rows, name), name))
            except NotFound as trouble:
                troubles.append(str(trouble))
    return found, troubles


async def path(service: Service, rows: Iterable[Row], name: str) -> str:
    """Find the one instance that is meant; raises ``NotFound``."""
    for way in WAYS:
        if meant := [row for row in rows if way(row) == name]:
            return only(meant, name)
    try:
        return await service.of_unit(name)
    except CallError as error:
        if error.name in GONE:
            raise missing(name) from error
        raise


def only(meant: Sequence[Row], name: str) -> str:
    if len(meant) > 1:
        keys = ", ".join(sorted(row.key for row in meant))
        raise NotFound(f"'{name}' is more than one instance, name one of: {keys}")
    return meant[0].path


def missing(name: str) -> NotFound:
    return NotFound(f"no instance named '{name}' (koi-runtime list tells all there are)")


async def record(service: Service, path: str, name: str) -> dict[str, Any]:
    """Read an instance whole; it may have stopped since it was listed."""
    try:
        shown = records.instance(await service.properties(path, INSTANCE))
        said = await service.explanation(f"{shown['backend']}:{shown['id']}")
    except CallError as error:
        if error.name in GONE:
            raise missing(name) from error
        raise
    refused = [item for item in records.items(said, "refused") if isinstance(item, dict)]
    return shown | {"refused": refused, "notes": records.items(said, "notes")}


def block(record: wording.Record, output: Output) -> str:
    """Draw an instance as ``systemctl status`` draws a unit."""
    state = "stale" if record["stale"] else record["state"]
    dot = output.styled(output.dot, wording.style(state))
    title = printable(f"{record['name']} ({record['backend']}:{record['id']})")
    lines = [f"{dot} {title}"]
    for label, values in fields(record):
        marks = [label + ":", *[""] * len(values)]
        lines += [
            f"{mark:>12} {printable(value)}" for mark, value in zip(marks, values, strict=False)
        ]
    return "\n".join(lines)


def fields(record: wording.Record) -> Iterable[tuple[str, list[str]]]:
    """Yield what is known, by label; what is not known is left out."""
    detail = f" ({record['state_detail']})" if record["state_detail"] else ""
    known = {
        "State": [wording.state(record) + detail],
        "Health": [record["health"]],
        "Tracked": [wording.since(record["discovered_at"])],
        "Created": [wording.since(record["created_at"])],
        "Image": [record.get("image")],
        "Unit": [record["unit"]],
        "Main PID": [record["main_pid"]],
        "CGroup": [record["control_group"]],
        "Invocation": [record["invocation_id"]],
        "Ports": list(wording.long_ports(record)),
        "Addresses": record["ips"],
        "Metadata": list(wording.metadata(record["metadata"])),
        "Refused": [f"{said.get('key')}: {said.get('reason')}" for said in record["refused"]],
        "Notes": record["notes"],
    }
    for label, values in known.items():
        if shown := [str(value) for value in values if value]:
            yield label, shown
