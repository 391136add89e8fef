"""The table in README.md: rows that are measured again replace the earlier ones."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.measurements import MEASUREMENTS, PARTS

README: Final = Path(__file__).with_name("README.md")
BEGIN: Final = "<!-- make bench ARGS=--readme: begin -->"
END: Final = "<!-- end -->"
_ORIGIN: Final = re.compile(r"- ((?:`\w+`(?:, )?)+): (.*)")
_PART: Final = re.compile(r"`(\w+)`")


def origin(parts: Iterable[str], text: str) -> str:
    """Return the line about the run that measured the rows of some parts."""
    return f"- {', '.join(f'`{part}`' for part in parts)}: {text}"


def written(readme: str, machine: Sequence[str], table: Sequence[str], new: str) -> str:
    """Return README.md with a new table, of which ``new`` is the origin.

    Rows and origins of parts that ``table`` lacks stay. Raises ``ValueError`` if the tables have
    different columns.
    """
    head, _, rest = readme.partition(BEGIN)
    section, _, tail = rest.partition(END)
    old = section.splitlines()
    lines = [*machine, *_origins(old, new), "", *_merged(old, table)]
    return "\n".join([f"{head}{BEGIN}", *lines, f"{END}{tail}"])


def _origins(old: Iterable[str], new: str) -> Iterator[str]:
    """Yield the new origin, and the earlier ones of other parts, in the order of the parts."""
    found: dict[str, str] = {}
    for line in (*old, new):
        if origin_of := _ORIGIN.fullmatch(line):
            found |= dict.fromkeys(_PART.findall(origin_of[1]), origin_of[2])
    for text in dict.fromkeys(found[part] for part in PARTS if part in found):
        yield origin([part for part in PARTS if found.get(part) == text], text)


def _merged(old: Iterable[str], new: Sequence[str]) -> Iterator[str]:
    head, rule, *_ = new
    old_table = [line for line in old if line.startswith("|")]
    if old_table and old_table[0] != head:
        raise ValueError(f"the table in README.md has other columns: {old_table[0]}")
    rows = _by_name(old_table[2:]) | _by_name(new[2:])
    yield head
    yield rule
    for measurement in MEASUREMENTS.values():
        if row := rows.get(measurement.what):
            yield row


def _by_name(rows: Iterable[str]) -> dict[str, str]:
    return {row[2 : row.index(" |")]: row for row in rows}
