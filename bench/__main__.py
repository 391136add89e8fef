"""Runs all benchmarks, and prints one table in Markdown: ``python -m bench`` as root.

Each part is a process of its own: a part that fails costs its own rows.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from bench.machine import described, revision
from bench.measurements import MEASUREMENTS, PARTS
from bench.parts import parser
from bench.report import Figures, print_lines, table
from tests.namespaces import CHECKOUT

README: Final = Path(__file__).with_name("README.md")
BEGIN: Final = "<!-- make bench ARGS=--readme: begin -->"
END: Final = "<!-- end -->"


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
            rows = [name for name, row in MEASUREMENTS.items() if row.part == part]
            figures.absent |= dict.fromkeys(rows, f"failed, exit {done.returncode}")
        else:
            figures.load(done.stdout)
    return figures


def report(figures: Figures, parts: Iterable[str], before: Path | None) -> Iterator[str]:
    """Yield the machine, and the table."""
    yield from described()
    if before:
        yield f"- before: commit {revision(before)}"
    yield ""
    chosen = set(parts)
    yield from table(figures, [name for name, row in MEASUREMENTS.items() if row.part in chosen])


def write_readme(lines: Iterable[str]) -> None:
    """Replace what stands between the marks of README.md."""
    head, _, rest = README.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    README.write_text("\n".join([f"{head}{BEGIN}", *lines, f"{end}{tail}"]))


def main() -> None:
    words = parser(__doc__)
    words.add_argument("--readme", action="store_true", help="also write the table to README.md")
    words.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    chosen = words.parse_args()
    parts = chosen.parts or PARTS
    options = ["--quick"] if chosen.quick else []
    if chosen.before:
        options += ["--before", str(chosen.before.absolute())]
    figures = measured(parts, options)
    lines = list(report(figures, parts, chosen.before))
    print_lines([figures.dump()] if chosen.json else lines)
    if chosen.readme:
        write_readme(lines)


if __name__ == "__main__":
    main()
