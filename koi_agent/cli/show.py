"""``koi-runtime show``: all properties of some instances."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from koi_agent.cli import formatting, records, resolve, times, unit
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import Client
from koi_agent.cli.output import Output
from koi_agent.core.dbus_names import INSTANCE
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES
from koi_agent.core.schema.tables import Row
from koi_agent.core.schema.types import TIME
from koi_agent.core.text import MOST_REASONS, bounded, printable

FORMATTERS: Final[Mapping[str, Callable[[formatting.Record], Iterable[str]]]] = {
    "state": lambda record: [formatting.detailed(formatting.state(record), record["state_detail"])],
    "health": lambda record: [formatting.detailed(record["health"], record["health_detail"])],
    "ports": formatting.long_ports,
    "metadata": lambda record: formatting.metadata(record["metadata"]),
    "announcements": formatting.announcements,
}
"""Properties, by key, that are shown in another way than others of their type."""


def act(arguments: Arguments, output: Output) -> int:
    return resolve.write_each(arguments, output, record, partial(block, scope=arguments.agent))


def record(client: Client, path: str) -> dict[str, Any]:
    """Return the properties of an instance, with what its explanation adds."""
    properties = INSTANCE_PROPERTIES.record(client.properties(path, INSTANCE))
    explanation = client.explanation(properties["key"])
    return properties | {
        "description": client.description(properties["unit"]) if properties["unit"] else "",
        "refused": records.refusals(explanation),
        "notes": records.items(explanation, "notes"),
    }


def block(record: formatting.Record, output: Output, *, scope: str) -> str:
    """Format an instance as ``systemctl status`` formats a unit, with its last log lines."""
    state = "stale" if record["stale"] else record["state"]
    dot = output.styled(output.dot, formatting.style(state))
    about = f" - {record['description']}" if record["description"] else ""
    title = printable(f"{record['name']} ({record['key']}){about}")
    lines = [f"{dot} {title}"]
    for label, values in fields(record):
        labels = [f"{label}:", *[""] * (len(values) - 1)]
        lines += [
            f"{label:>12} {printable(value)}" for label, value in zip(labels, values, strict=True)
        ]
    # A unit without a description is not known to the manager on this bus.
    log = unit.log_lines(record["unit"], scope) if record["description"] else []
    return "\n".join([*lines, *(["", *log] if log else [])])


def fields(record: formatting.Record) -> Iterator[tuple[str, list[str]]]:
    """Yield label and lines of each property; a property that is not known is left out."""
    for row in INSTANCE_PROPERTIES.rows:
        if row.heading and (values := _lines(row, record)):
            yield row.heading, values
    refused = [formatting.refused(each) for each in record["refused"]]
    notes = [str(note) for note in record["notes"]]
    hint = f"koi-runtime explain {record['name']}"
    for heading, reasons in (("Refused", refused), ("Notes", notes)):
        if reasons:
            yield heading, bounded(reasons, MOST_REASONS, hint)


def _lines(row: Row[Any], record: formatting.Record) -> list[str]:
    """Return the lines of a property; none if it is not known."""
    if format_property := FORMATTERS.get(row.key):
        return list(format_property(record))
    value = record.get(row.key)
    if not value:
        return []
    if row.type is TIME:
        return [times.since(value)]
    return [formatting.value_of(each) for each in (value if isinstance(value, list) else [value])]
