"""The benchmarks' own arithmetic: the table, the delays, and what got worse."""

from importlib import import_module
from pathlib import Path

import pytest

from bench.check import CHECKED, TOLERATED, worse
from bench.measurements import MEASUREMENTS, PARTS
from bench.monitor import Stamped
from bench.parts import Checkout, Run
from bench.readme import BEGIN, END, origin, written
from bench.report import BEFORE, NOW, Figures, aggregated, table
from bench.shares import shares
from bench.units import UNIT, measured

OURS = Checkout(NOW, Path("/ours"))
OTHER = Checkout(BEFORE, Path("/other"))


@pytest.mark.parametrize("part", PARTS)
def test_each_part_measures_its_rows(part: str) -> None:
    assert callable(import_module(f"bench.{part}").measure)
    assert any(row.part == part for row in MEASUREMENTS.values())


def test_every_row_has_a_part_and_every_checked_row_exists() -> None:
    assert {row.part for row in MEASUREMENTS.values()} == set(PARTS)
    assert set(CHECKED) <= set(MEASUREMENTS)


@pytest.mark.parametrize(
    ("of", "expected"), [("median", 50.5), ("p99", 99), ("maximum", 100)], ids=str
)
def test_samples_are_aggregated(of: str, expected: float) -> None:
    assert aggregated(of, [float(number) for number in range(100, 0, -1)]) == expected


def test_a_row_compares_ours_with_the_peer_and_the_budget() -> None:
    run = Run([OTHER, OURS], Figures())
    run.add("units.single.cpu", OURS, [1, 3, 2], [10, 10, 10])
    run.add("units.single.cpu", OTHER, [4], [10])
    row = list(table(run.figures, ["units.single.cpu"]))[-1].split(" | ")
    assert row[1:] == ["4 ms", "2 ms", "10 ms (manager and bus)", "20 %", "20 %", "yes |"]
    run.add("units.single.cpu", OURS, [5, 5, 5])
    assert list(table(run.figures, ["units.single.cpu"]))[-1].endswith("**no** |")


def test_what_was_not_measured_is_no_figure() -> None:
    figures = Figures(absent={"peers.koi": "not installed"})
    assert "upstream Koi: not installed" in list(table(figures, ["peers.koi"]))[-1]
    assert list(table(figures, ["idle.wakeups"]))[-1].endswith(
        "| – | – (manager and bus) |  | 0 |  |"
    )


def test_figures_of_a_part_survive_the_way_to_the_table() -> None:
    run, read = Run([OURS], Figures()), Figures()
    run.add("http.next", OURS, [1.5], [3])
    read.load(run.figures.dump())
    assert read.ratio("http.next") == 0.5


def changed(at: float, state: str) -> Stamped:
    path = "/org/freedesktop/systemd1/unit/web_2eservice"
    return Stamped(at, path, "PropertiesChanged", [UNIT, {"ActiveState": state}, []])


def signalled(at: float, member: str) -> Stamped:
    return Stamped(at, "/org/sylin/koi/Runtime1", member, ["web.service", "web", "/", {}])


def test_delays_run_from_the_first_signal_of_a_state() -> None:
    signals = [
        changed(0, "inactive"),  # a unit that is loaded
        changed(1, "active"),
        changed(2, "active"),
        signalled(3, "InstanceStarted"),
        changed(10, "deactivating"),
        changed(11, "inactive"),
        changed(12, "inactive"),
        signalled(15, "InstanceStopped"),
        signalled(16, "InstanceStopped"),
    ]
    assert list(measured(signals, ["web.service"])) == [("start", 2), ("stop", 4)]


def test_only_what_grew_beyond_noise_is_worse() -> None:
    expected = {"one": 1.0, "two": 1.0}
    found = {"one": TOLERATED - 0.01, "two": TOLERATED + 0.01, "new": 9.0}
    assert worse(expected, found) == ["two"]


def test_a_sample_counts_for_each_file_of_its_stack() -> None:
    samples = [
        "run (asyncio/base.py:1);act (/x/koi_agent/a.py:1);f (/x/koi_agent/b.py:2) 3",
        "run (asyncio/base.py:1);act (/x/koi_agent/a.py:9) 1",
        "act (/x/koi_agent/a.py:9);select (selectors.py:468) 50",
        "worker (threading.py:1) 50",
    ]
    assert shares(samples) == {"koi_agent/a.py": 1.0, "koi_agent/b.py": 0.75}
    assert shares([]) == {}


def table_of(*rows: tuple[str, str]) -> list[str]:
    names = {"owned": "exec until the name is owned, 2 units", "idle": "wakeups in 60 s at idle"}
    what = {
        name: next(row.what for row in MEASUREMENTS.values() if text in row.what)
        for name, text in names.items()
    }
    return [
        "| what | ours |",
        "|---|---|",
        *(f"| {what[name]} | {value} |" for name, value in rows),
    ]


def test_rows_of_other_parts_stay_in_the_readme() -> None:
    before = f"text\n{BEGIN}\n{END}\nmore"
    one = written(before, ["- old"], table_of(("idle", "7"), ("owned", "1 s")), origin(PARTS, "x"))
    two = written(one, ["- new"], table_of(("owned", "2 s")), origin(["start"], "y"))
    lines = two.splitlines()
    assert lines[:3] == ["text", BEGIN, "- new"]
    assert lines[3] == origin(["start"], "y")
    assert lines[4] == origin([part for part in PARTS if part != "start"], "x")
    assert lines[6:10] == table_of(("owned", "2 s"), ("idle", "7"))
    assert lines[10:] == [END, "more"]
    with pytest.raises(ValueError, match="other columns"):
        written(two, [], ["| what | before | ours |", "|---|---|---|"], origin(["start"], "z"))
