"""The command line of each part, ``python -m bench.NAME``, and the checkouts that it runs."""

import argparse
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.measurements import MEASUREMENTS
from bench.report import BEFORE, NOW, Figures, print_lines, table
from tests.namespaces import CHECKOUT

LAUNCH: Final = (
    "import site, sys; sys.path[:0] = sys.argv.pop(1).split(':');"
    " from koi_agent.__main__ import main; main()"
)
"""Runs the command of a checkout as the installed script does: isolated, without runpy.

Nor does an installed command have the hook by which pip finds a checkout: it takes 15 ms."""
ISOLATED: Final = ("-I", "-S")
PACKAGED: Final = Path("/usr/bin/python3")
"""The Python with which packages run the agent.

Another one may be built without optimizations, and then needs a third more processor time."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout of the repository whose agent runs, with the libraries of its ``.venv``."""

    label: str
    path: Path

    @property
    def python(self) -> str:
        """The Python of packages, if the libraries are made for its version."""
        if PACKAGED.resolve().name == self._libraries.parent.name:
            return str(PACKAGED)
        own = self.path / ".venv/bin/python"
        return str(own) if own.exists() else sys.executable

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of ``koi-runtime ARGUMENTS``."""
        return [self.python, *ISOLATED, "-c", LAUNCH, self.places, *arguments]

    @property
    def places(self) -> str:
        """The folders of the checkout and of its libraries, in the form of ``PYTHONPATH``."""
        return f"{self.path}:{self._libraries}"

    @property
    def _libraries(self) -> Path:
        own = (self.path / ".venv/lib").glob("python3.*/site-packages")
        return next(own, Path(sysconfig.get_path("purelib")))

    def empty(self) -> list[str]:
        """Return the command line of a Python that does nothing."""
        return [self.python, *ISOLATED, "-c", "import site"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a part: what it compares, and where its figures go."""

    checkouts: Sequence[Checkout]
    figures: Figures
    quick: bool = False

    def turns(self, rounds: int) -> Iterator[Checkout]:
        """Yield each checkout in turn, so that a busy machine slows all of them."""
        for number in range(max(1, rounds // 2) if self.quick else rounds):
            for checkout in self.checkouts:
                sys.stderr.write(f"  round {number + 1}: {checkout.label}\n")
                yield checkout

    def add(
        self, name: str, checkout: Checkout, ours: Iterable[float], floor: Iterable[float] = ()
    ) -> None:
        """Add samples of a row, in the unit of its measurement."""
        samples = self.figures.samples[name][checkout.label]
        samples.ours.extend(ours)
        samples.floor.extend(floor)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options that all parts have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument(
        "--before", type=Path, metavar="PATH", help="another checkout, which is measured too"
    )
    options.add_argument("--quick", action="store_true", help="half of the rounds")
    options.add_argument("--json", action="store_true", help="print samples instead of a table")
    return options


def checkouts(before: Path | None) -> list[Checkout]:
    """Return this checkout, and the one to compare with."""
    others = [Checkout(BEFORE, before.absolute())] if before else []
    return [*others, Checkout(NOW, CHECKOUT)]


def main(part: str, measure: Callable[[Run], None], description: str | None) -> None:
    """Run a part alone: print its rows, or all samples."""
    options = parser(description).parse_args()
    figures = Figures()
    measure(Run(checkouts(options.before), figures, options.quick))
    if options.json:
        print_lines([figures.dump()])
        return
    print_lines(table(figures, [name for name, row in MEASUREMENTS.items() if row.part == part]))
