"""Compares ratios with those of the last accepted state: ``python -m bench.check [--write]``.

It runs as root, in less than three minutes. It prints what got worse against ``expected.json`` and
then exits with 1. Run it before an issue is resolved, on a machine that does little else.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench import command, containers, growth, units
from bench.agents import in_world, services, settings
from bench.measurements import MEASUREMENTS
from bench.parts import Run, checkouts
from bench.report import NOW, Figures, Row, print_lines
from tests import dockerd
from tests.world import World

EXPECTED: Final = Path(__file__).with_name("expected.json")
TOLERATED: Final = 1.3
"""A figure that grew by less may be noise: on a busy machine ratios differ by a fifth."""
CHECKED: Final = (
    "units.single.cpu",
    "units.burst.cpu",
    "containers.dockerd.cpu",
    "growth.opted_in",
    "command.version.cpu",
    "command.list_300.cpu",
)


def measured(run: Run) -> None:
    """Measure what is checked, and nothing else."""
    (checkout,) = run.checkouts
    command.versions(run, 5)
    command.lists(run, 300, 5)
    with containers.private_bus() as bus:
        if not dockerd.missing():
            containers.with_dockerd(run, bus.address, checkout, delays=False)
        run.add("growth.opted_in", checkout, [growth.opted_in(bus.address, checkout)])
    with World("bench") as world, tempfile.TemporaryDirectory() as folder:
        names = services(world, range(units.UNITS))
        world.reload()
        with in_world(world, checkout, Path(folder), settings(backends="systemd")) as agent:
            for _ in range(2):
                for way in units.WAYS:
                    used = units.cost(world, agent.pid, way, names)
                    run.add(f"units.{way.name}.cpu", checkout, *used)


def compared(figures: Figures) -> dict[str, float]:
    """Return what is compared: the ratio to the peer, or KB, which no other program changes."""
    found = {}
    for name in CHECKED:
        row = Row(MEASUREMENTS[name], figures.samples[name])
        value = row.ours(NOW) if row.measurement.unit == "KB" else row.ratio(NOW)
        if value is not None:
            found[name] = round(value, 2)
    return found


def worse(expected: Mapping[str, float], found: Mapping[str, float]) -> list[str]:
    """Return the names of the figures that got worse."""
    return [
        name
        for name, value in found.items()
        if name in expected and value > TOLERATED * expected[name]
    ]


def report(expected: Mapping[str, float], found: Mapping[str, float]) -> list[str]:
    """Return a table with the verdict on each figure."""
    bad = worse(expected, found)
    lines = ["| what | expected | now | verdict |", "|---|---|---|---|"]
    for name in CHECKED:
        verdict = "**worse**" if name in bad else "ok" if name in found else "not measured"
        cells = (MEASUREMENTS[name].what, expected.get(name, ""), found.get(name, ""), verdict)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    limit = f"{100 * (TOLERATED - 1):.0f} %"
    return [*lines, "", f"{len(bad)} got worse by more than {limit}: what is less may be noise"]


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--write", action="store_true", help="accept the figures of this run")
    chosen = words.parse_args()
    run = Run(checkouts(None), Figures(), quick=True)
    measured(run)
    found = compared(run.figures)
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    print_lines(report(expected, found))
    if chosen.write:
        EXPECTED.write_text(json.dumps(expected | found, indent=2) + "\n")
        return 0
    return 1 if worse(expected, found) else 0


if __name__ == "__main__":
    sys.exit(main())
