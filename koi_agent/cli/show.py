"""``koi-runtime show``: all that is known of some instances."""

from collections.abc import Iterable
from typing import Any

from koi_agent.cli import formatting, records, resolve
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import Client
from koi_agent.cli.output import Output
from koi_agent.core.dbus_names import INSTANCE
from koi_agent.core.text import printable


def act(arguments: Arguments, output: Output) -> int:
    return resolve.tell(arguments, output, record, block)


async def record(service: Client, path: str) -> dict[str, Any]:
    """Read an instance whole."""
    shown = records.instance(await service.properties(path, INSTANCE))
    said = await service.explanation(f"{shown['backend']}:{shown['id']}")
    return shown | {"refused": records.refusals(said), "notes": records.items(said, "notes")}


def block(record: formatting.Record, output: Output) -> str:
    """Draw an instance as ``systemctl status`` draws a unit."""
    state = "stale" if record["stale"] else record["state"]
    dot = output.styled(output.dot, formatting.style(state))
    title = printable(f"{record['name']} ({record['backend']}:{record['id']})")
    lines = [f"{dot} {title}"]
    for label, values in fields(record):
        marks = [label + ":", *[""] * len(values)]
        lines += [
            f"{mark:>12} {printable(value)}" for mark, value in zip(marks, values, strict=False)
        ]
    return "\n".join(lines)


def fields(record: formatting.Record) -> Iterable[tuple[str, list[str]]]:
    """Yield what is known, by label; what is not known is left out."""
    known = {
        "State": [formatting.detailed(formatting.state(record), record["state_detail"])],
        "Health": [formatting.detailed(record["health"], record["health_detail"])],
        "Tracked": [formatting.since(record["discovered_at"])],
        "Created": [formatting.since(record["created_at"])],
        "Image": [record.get("image")],
        "Unit": [record["unit"]],
        "Main PID": [record["main_pid"]],
        "CGroup": [record["control_group"]],
        "Invocation": [record["invocation_id"]],
        "Ports": list(formatting.long_ports(record)),
        "Addresses": record["ips"],
        "Metadata": list(formatting.metadata(record["metadata"])),
        "Announced": list(formatting.announcements(record)),
        "Refused": [f"{said['key']}: {said['reason']}" for said in record["refused"]],
        "Notes": record["notes"],
    }
    for label, values in known.items():
        if shown := [str(value) for value in values if value]:
            yield label, shown
