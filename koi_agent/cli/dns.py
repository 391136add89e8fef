"""``koi-runtime dns``: the outlets of DNS names, and the records of the zones."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from koi_agent.cli import formatting
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import agent
from koi_agent.cli.output import Output
from koi_agent.cli.table import Cell, table
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES

CAPABILITY: Final = "dns"
OUTLETS: Final = ("OUTLET", "STATUS", "NAMES", "REASON")
RECORDS: Final = ("NAME", "TTL", "TYPE", "DATA")


def act(arguments: Arguments, output: Output) -> int:
    with agent(arguments.agent) as client:
        instances = [INSTANCE_PROPERTIES.record(values) for values in client.instances()]
        records = client.dns_records()
    found = outlets(instances)
    if output.mode != "off":
        rows = [dict(zip(("name", "ttl", "type", "data"), one, strict=True)) for one in records]
        output.json({"outlets": found, "records": rows})
        return 0
    table(output, OUTLETS, [cells(one) for one in found], "outlet", full=arguments.full)
    output.write("")
    rows_of = ([Cell(str(value)) for value in record] for record in records)
    table(output, RECORDS, rows_of, "record", full=arguments.full)
    output.flush()
    return 0


def outlets(instances: Iterable[formatting.Record]) -> Sequence[dict[str, Any]]:
    """Return how many names each outlet has in each status, with the reason of these."""
    counted = Counter(
        (one["provider"] or "", one["status"], one["reason"] or "")
        for instance in instances
        for one in instance["announcements"]
        if one["capability"] == CAPABILITY
    )
    return [
        {"outlet": outlet or None, "status": status, "names": names, "reason": reason or None}
        for (outlet, status, reason), names in sorted(counted.items())
    ]


def cells(outlet: formatting.Record) -> list[Cell]:
    return [
        Cell(outlet["outlet"] or "-"),
        Cell(outlet["status"], formatting.style(outlet["status"])),
        Cell(str(outlet["names"])),
        Cell(outlet["reason"] or ""),
    ]
