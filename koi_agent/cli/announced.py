"""``koi-runtime announced``: the records that are announced on this host, in a table."""

import re
from collections.abc import Iterator
from typing import Any

from koi_agent.cli import formatting, instances, listing, resolve, times
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.output import Output, complain
from koi_agent.cli.table import Cell, table
from koi_agent.core.titles import is_route, names_of

HEADER = ("RECORD", "TYPE", "INSTANCE", "PORTS", "PROVIDER", "SINCE")
TYPE = re.compile(r"\.(_[a-z0-9-]+\._(?:tcp|udp))\.local$")
HOST_NAME, ROUTE = "host name", "route"
"""The types of records other than services."""


def act(arguments: Arguments, output: Output) -> int:
    known = instances.read(arguments.agent)
    meant, missing = instances.named(known, arguments.names)
    found = sorted((one for each in meant for one in records(each)), key=order)
    if output.mode != "off":
        output.json(found)
    else:
        rows = [cells(one) for one in found]
        table(output, HEADER, rows, "record", full=arguments.full, bound=listing.BOUND)
    output.flush()
    for word in missing:
        complain(str(resolve.none(word)))
    return 1 if missing else 0


def records(instance: formatting.Record) -> Iterator[dict[str, Any]]:
    """Yield the announced records of an instance."""
    for one in instance["announcements"]:
        if one["status"] == "announced":
            service = TYPE.search(one["name"])
            other = ROUTE if is_route(one["name"]) else HOST_NAME
            kind = service[1] if service else other
            ports = [port for port in instance["ports"] if not service or port["type"] == kind]
            yield {
                "name": one["name"],
                "type": kind,
                "instance": instance["key"],
                "instance_name": instance["name"],
                "ports": formatting.short_ports({"ports": ports}),
                "provider": one["provider"],
                "since": one["since"],
            }


def order(record: formatting.Record) -> tuple[str, str, str]:
    """Return the key by which records are sorted: by name, then by type."""
    return names_of(record["name"])[1].casefold(), record["type"], record["instance"]


def cells(record: formatting.Record) -> list[Cell]:
    is_host = record["type"] == HOST_NAME
    name = record["name"] if is_host else names_of(record["name"])[1]
    return [
        Cell(name),
        Cell(record["type"]),
        Cell(record["instance_name"]),
        Cell(",".join(record["ports"])),
        Cell(record["provider"] or ""),
        Cell(times.ago(record["since"])),
    ]
