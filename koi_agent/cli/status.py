"""``koi-runtime status``: the status of the agent and its backends."""

import asyncio
from typing import Any

from koi_agent.cli import formatting, records
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import agent
from koi_agent.cli.output import Output
from koi_agent.cli.table import Cell, table
from koi_agent.core.dbus_names import BACKEND, MANAGER, ROOT
from koi_agent.core.text import printable

HEADER = (
    "BACKEND",
    "STATE",
    "INSTANCES",
    "DRIFT",
    "RECONNECTS",
    "LAST LISTED",
    "VERSION",
    "ENDPOINT",
    "LAST ERROR",
)


def act(arguments: Arguments, output: Output) -> int:
    bus = arguments.agent
    known = asyncio.run(status(bus))
    if output.mode != "off":
        output.json(known)
        return 0
    dot = output.styled(output.dot, formatting.style(known["state"]))
    output.write(printable(f"{dot} koi-runtime {known['version']} on the {bus} bus"))
    output.write(f"    State: {printable(known['state'])}")
    output.write(f"Instances: {known['instance_count']}\n")
    table(output, HEADER, map(row, known["backends"]), "backend")
    return 0


async def status(scope: str) -> dict[str, Any]:
    """Return the record of the agent, with those of its backends."""
    async with agent(scope) as client:
        manager = await client.properties(ROOT, MANAGER)
        paths = await client.backend_paths()
        backends = [records.backend(await client.properties(path, BACKEND)) for path in paths]
    return {
        "version": records.text(manager, "Version"),
        "state": records.text(manager, "State"),
        "active": manager.get("Active") is True,
        "instance_count": records.number(manager, "InstanceCount"),
        "backends": sorted(backends, key=lambda backend: str(backend["name"])),
    }


def row(backend: formatting.Record) -> list[Cell]:
    return [
        Cell(backend["name"]),
        Cell(backend["state"], formatting.style(backend["state"])),
        Cell(str(backend["instances"])),
        Cell(str(backend["drift"])),
        Cell(str(backend["reconnects"])),
        Cell(formatting.ago(backend["last_sync"])),
        Cell(backend["runtime_version"] or ""),
        Cell(backend["endpoint"] or ""),
        Cell(backend["last_error"] or ""),
    ]
