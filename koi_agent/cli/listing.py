"""``koi-runtime list``: all instances in a table."""

import asyncio
from typing import Any

from koi_agent.cli import formatting, records
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import agent
from koi_agent.cli.output import Output
from koi_agent.cli.table import Cell, table
from koi_agent.config import scope

HEADER = ("NAME", "BACKEND", "STATE", "HEALTH", "PORTS", "ADDRESSES")


def act(arguments: Arguments, output: Output) -> int:
    listed = asyncio.run(ask(scope(arguments.scope)))
    if output.mode != "off":
        output.json(listed)
    else:
        table(output, HEADER, map(row, listed), "instance")
    return 0


async def ask(scope: str) -> list[dict[str, Any]]:
    """Ask for all instances, sorted by name."""
    async with agent(scope) as service:
        found = [records.instance(shown) for shown in await service.instances()]
    return sorted(found, key=lambda record: (record["name"], record["backend"], record["id"]))


def row(record: formatting.Record) -> list[Cell]:
    state, health = record["state"], record["health"]
    return [
        Cell(record["name"]),
        Cell(record["backend"]),
        Cell(
            formatting.state(record), formatting.quiet_style("stale" if record["stale"] else state)
        ),
        Cell(health, formatting.quiet_style(health)),
        Cell(formatting.short_ports(record)),
        Cell(",".join(record["ips"])),
    ]
