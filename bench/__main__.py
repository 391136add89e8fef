"""Runs all benchmarks, and prints one table in Markdown: ``python -m bench`` as root.

Each part is a process of its own: a part that fails costs its own rows.
"""

import subprocess
import sys
from collections.abc import Iterable, Sequence

from bench.machine import described, moment
from bench.measurements import MEASUREMENTS, PARTS
from bench.parts import parser
from bench.readme import README, origin, written
from bench.report import Figures, print_lines, table
from tests.namespaces import CHECKOUT


def measured(parts: Iterable[str], options: Iterable[str]) -> Figures:
    """Run parts and return their figures."""
    figures = Figures()
    for part in parts:
        sys.stderr.write(f"{part}\n")
        done = subprocess.run(
            [sys.executable, "-m", f"bench.{part}", "--json", *options],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            cwd=CHECKOUT,
        )
        if done.returncode:
            figures.failed.append(part)
            figures.absent |= dict.fromkeys(rows_of([part]), f"failed, exit {done.returncode}")
        else:
            figures.load(done.stdout)
    return figures


def rows_of(parts: Iterable[str]) -> Sequence[str]:
    """Return the names of the rows that these parts measure."""
    chosen = set(parts)
    return [name for name, row in MEASUREMENTS.items() if row.part in chosen]


def main() -> int:
    words = parser(__doc__)
    words.add_argument("--readme", action="store_true", help="also write rows to bench/README.md")
    words.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    chosen = words.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        words.error(f"unknown part: {', '.join(sorted(unknown))}; use {', '.join(PARTS)}")
    parts = [part for part in PARTS if part in chosen.parts or not chosen.parts]
    options = ["--quick"] if chosen.quick else []
    if chosen.before:
        options += ["--before", str(chosen.before.absolute())]
    figures = measured(parts, options)
    machine, rows = list(described()), list(table(figures, rows_of(parts)))
    of_rows = origin(parts, moment(chosen.before))
    print_lines([figures.dump()] if chosen.json else [*machine, of_rows, "", *rows])
    if chosen.readme:
        README.write_text(written(README.read_text(), machine, rows, of_rows))
    return 1 if figures.failed else 0


if __name__ == "__main__":
    sys.exit(main())
