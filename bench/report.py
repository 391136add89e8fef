"""The figures of one run: samples by measurement and checkout, and the table of them."""

import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.measurements import MEASUREMENTS, Measurement

NOW: Final = "ours"
BEFORE: Final = "before"


@dataclass
class Samples:
    """The figures of one row, of one checkout."""

    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)


@dataclass
class Figures:
    """All samples of a run, and the reasons of rows without a peer."""

    samples: dict[str, dict[str, Samples]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Samples))
    )
    absent: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """The parts that could not be measured."""

    def dump(self) -> str:
        """Return all as JSON."""
        samples = {
            name: {label: vars(one) for label, one in labels.items()}
            for name, labels in self.samples.items()
        }
        return json.dumps({"samples": samples, "absent": self.absent})

    def load(self, text: str) -> None:
        """Add what another process dumped."""
        found = json.loads(text)
        for name, labels in found["samples"].items():
            for label, lists in labels.items():
                self.samples[name][label] = Samples(**lists)
        self.absent |= found["absent"]

    def ratio(self, name: str, label: str = NOW) -> float | None:
        """Return the ratio of a row to its peer; None if one of them was not measured."""
        return Row(MEASUREMENTS[name], self.samples[name]).ratio(label)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    measurement: Measurement
    samples: Mapping[str, Samples]

    def ours(self, label: str) -> float | None:
        """Return the figure of a checkout."""
        one = self.samples.get(label)
        return aggregated(self.measurement.of, one.ours) if one and one.ours else None

    def floor(self) -> float | None:
        """Return the figure of the peer, measured beside all checkouts."""
        values = [value for one in self.samples.values() for value in one.floor]
        return statistics.median(values) if values else None

    def ratio(self, label: str) -> float | None:
        """Return the median of ours by the median of the peer beside it."""
        one = self.samples.get(label)
        if not one or not one.ours or not one.floor or not statistics.median(one.floor):
            return None
        return aggregated(self.measurement.of, one.ours) / statistics.median(one.floor)

    def met(self) -> str:
        """Return "yes" or "no" for a budget that is met or not; "" without a budget."""
        budget = self.measurement.budget
        found = self.ours(NOW) if self.measurement.bounds == "ours" else self.ratio(NOW)
        if budget is None or found is None:
            return ""
        return "yes" if found <= budget else "**no**"

    def budget(self) -> str:
        if self.measurement.budget is None:
            return ""
        if self.measurement.bounds == "ratio":
            return f"{100 * self.measurement.budget:.0f} %"
        return shown(self.measurement.budget, self.measurement.unit)


def aggregated(of: str, values: Sequence[float]) -> float:
    """Return the median, the 99th percentile or the maximum of samples."""
    ordered = sorted(values)
    if of == "p99":
        return ordered[math.ceil(0.99 * len(ordered)) - 1]
    return ordered[-1] if of == "maximum" else statistics.median(ordered)


def shown(value: float | None, unit: str) -> str:
    """Return a figure with three digits and its unit."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} {unit}".rstrip()


def shown_ratio(measurement: Measurement, ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{100 * ratio:.0f} %" if measurement.bounds == "ratio" else f"{ratio:.2g} ×"


def table(figures: Figures, names: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a table in Markdown; "before" is a column if another checkout ran."""
    compared = any(BEFORE in labels for labels in figures.samples.values())
    head = ["what", *([BEFORE] if compared else []), NOW, "peer or floor", "ratio", "budget", "met"]
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for name in names:
        yield f"| {' | '.join(cells(figures, name, compared=compared))} |"


def cells(figures: Figures, name: str, *, compared: bool) -> Iterator[str]:
    measurement = MEASUREMENTS[name]
    row = Row(measurement, figures.samples[name])
    yield measurement.what
    if compared:
        yield shown(row.ours(BEFORE), measurement.unit)
    yield shown(row.ours(NOW), measurement.unit)
    if name in figures.absent:
        yield f"{measurement.floor or 'the part'}: {figures.absent[name]}"
    elif measurement.floor:
        yield f"{shown(row.floor(), measurement.unit)} ({measurement.floor})"
    else:
        yield ""
    yield shown_ratio(measurement, row.ratio(NOW))
    yield row.budget()
    yield row.met()


def print_lines(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()
