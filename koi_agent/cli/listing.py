"""``koi-runtime list``: all instances in a table."""

import asyncio
from typing import Any

from koi_agent.cli import formatting
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import agent
from koi_agent.cli.output import Output
from koi_agent.cli.table import Cell, table
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES

HEADER = ("NAME", "BACKEND", "STATE", "HEALTH", "PORTS", "ADDRESSES")


def act(arguments: Arguments, output: Output) -> int:
    instances = asyncio.run(read(arguments.agent))
    if output.mode != "off":
        output.json(instances)
    else:
        table(output, HEADER, map(row, instances), "instance")
    return 0


async def read(scope: str) -> list[dict[str, Any]]:
    """Return the records of all instances, sorted by name."""
    async with agent(scope) as client:
        records = [INSTANCE_PROPERTIES.record(values) for values in await client.instances()]
    return sorted(records, key=lambda record: (record["name"], record["backend"], record["id"]))


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
