"""``koi-runtime status``: the status of the agent and its backends."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from koi_agent.cli import formatting, records, times
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import agent
from koi_agent.cli.output import Output
from koi_agent.cli.table import Cell, table
from koi_agent.core.dbus_names import BACKEND, MANAGER, ROOT
from koi_agent.core.text import printable

Cells = Callable[[formatting.Record], Cell]

COLUMNS: Final[Mapping[str, Cells]] = {
    "BACKEND": lambda backend: Cell(backend["name"]),
    "STATE": lambda backend: Cell(backend["state"], formatting.style(backend["state"])),
    "INSTANCES": lambda backend: Cell(str(backend["instances"])),
    "DRIFT": lambda backend: Cell(str(backend["drift"])),
    "RECONNECTS": lambda backend: Cell(str(backend["reconnects"])),
    "LAST LISTED": lambda backend: Cell(times.ago(backend["last_sync"])),
    "VERSION": lambda backend: Cell(backend["runtime_version"] or ""),
    "ENDPOINT": lambda backend: Cell(backend["endpoint"] or ""),
}
COUNTED_ERRORS: Final = ("DRIFT", "RECONNECTS")
"""Columns that are left out if they are 0 for all backends."""


def act(arguments: Arguments, output: Output) -> int:
    bus = arguments.agent
    known = status(bus)
    if output.mode != "off":
        output.json(known)
        return 0
    dot = output.styled(output.dot, formatting.style(known["state"]))
    output.write(printable(f"{dot} koi-runtime {known['version']} on the {bus} bus"))
    output.write(f"    State: {printable(known['state'])}")
    output.write(f"Instances: {known['instance_count']}\n")
    write_backends(output, known["backends"], full=arguments.full)
    return 0


def write_backends(
    output: Output, backends: Sequence[formatting.Record], *, full: bool = False
) -> None:
    """Write a table of backends, and below it each error on a line of its own."""
    cells = {name: [cell(one) for one in backends] for name, cell in COLUMNS.items()}
    shown = [
        name
        for name, column in cells.items()
        if name not in COUNTED_ERRORS or any(one.text != "0" for one in column)
    ]
    rows = [[cells[name][number] for name in shown] for number in range(len(backends))]
    table(output, shown, rows, "backend", full=full)
    failing = [backend for backend in backends if backend["last_error"]]
    if failing:
        output.write("")
    for backend in failing:
        name = output.styled(printable(backend["name"]), formatting.style(backend["state"]))
        output.write(f"{name}: {printable(backend['last_error'])}")


def status(scope: str) -> dict[str, Any]:
    """Return the record of the agent, with those of its backends."""
    with agent(scope) as client:
        manager = client.properties(ROOT, MANAGER)
        paths = client.backend_paths()
        backends = [records.backend(client.properties(path, BACKEND)) for path in paths]
    return {
        "version": records.text(manager, "Version"),
        "state": records.text(manager, "State"),
        "active": manager.get("Active") is True,
        "instance_count": records.number(manager, "InstanceCount"),
        "backends": sorted(backends, key=lambda backend: str(backend["name"])),
    }
