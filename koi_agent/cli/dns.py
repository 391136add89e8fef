"""``koi-runtime dns``: the outlets of DNS names, and the records of the zones."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from koi_agent.cli import formatting, http, instances
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.output import Output
from koi_agent.cli.table import Cell, table

CAPABILITY: Final = "dns"
OUTLETS: Final = ("OUTLET", "STATUS", "NAMES", "REASON")
PAGE: Final = "/v1/dns/zone?format=json"
RECORDS: Final = ("NAME", "TTL", "TYPE", "DATA")


def act(arguments: Arguments, output: Output) -> int:
    found = outlets(instances.read(arguments.agent))
    records = http.records(arguments.agent, PAGE)
    if output.mode != "off":
        output.json({"outlets": found, "records": records})
        return 0
    table(output, OUTLETS, [cells(one) for one in found], "outlet", full=arguments.full)
    output.write("")
    rows = ([Cell(str(one.get(name.lower(), ""))) for name in RECORDS] for one in records)
    table(output, RECORDS, rows, "record", full=arguments.full)
    output.flush()
    return 0


def outlets(known: Iterable[formatting.Record]) -> Sequence[dict[str, Any]]:
    """Return how many names each outlet has in each status, with the reason of these."""
    counted = Counter(
        (one["provider"] or "", one["status"], one["reason"] or "")
        for instance in known
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
