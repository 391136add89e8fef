"""Tables, colours and JSON of the command's output."""

import json

import pytest

from koi_agent.cli import table as tables
from koi_agent.cli.output import Output, Style, coloured
from koi_agent.cli.table import Cell, cut, fitting, table, width


@pytest.fixture(autouse=True)
def no_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYSTEMD_COLORS", raising=False)


def lines_of(
    capsys: pytest.CaptureFixture[str], *rows: tuple[str, ...], legend: bool = True
) -> list[str]:
    table(Output(legend=legend), ("NAME", "STATE"), [list(map(Cell, row)) for row in rows], "thing")
    return capsys.readouterr().out.splitlines()


def test_columns_are_aligned_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys, ("a", "running"), ("longer", "")) == [
        "NAME   STATE  ",
        "a      running",
        "longer -",
        "",
        "2 things listed.",
    ]


def test_one_row_is_counted_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys, ("a", "b"))[-1] == "1 thing listed."


def test_without_a_legend_there_are_only_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys, ("a", "b"), legend=False) == ["a    b"]
    assert lines_of(capsys, legend=False) == []


def test_an_empty_table_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys) == ["No things."]


def test_wide_and_combining_characters_keep_columns_aligned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = lines_of(capsys, ("日本", "x"), ("cafe\u0301", "x"))
    assert [width(line) for line in lines[1:3]] == [6, 6]


def test_foreign_text_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, ("\x1b]0;owned\x07\n", "\u202egnp"))
    assert lines[1] == "\\x1b]0;owned\\x07\\x0a \\u202egnp"


def test_only_the_widest_columns_are_narrowed() -> None:
    assert fitting([4, 40, 30], 60) == [4, 27, 27]
    assert fitting([4, 40, 30], 0) == [4, 40, 30]
    assert fitting([30, 40], 3) == [tables.NARROWEST, tables.NARROWEST]


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde…"), ("日本語", 4, "日…")],
)
def test_cut_text_ends_with_a_mark(text: str, columns: int, expected: str) -> None:
    assert cut(text, columns) == expected


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({"SYSTEMD_COLORS": "0"}, True, False),
        ({"SYSTEMD_COLORS": "1"}, False, True),
        ({"SYSTEMD_COLORS": "256", "NO_COLOR": "1"}, False, True),
    ],
)
def test_colours_follow_the_rules_of_systemd(
    environment: dict[str, str],
    terminal: bool,  # noqa: FBT001 - pytest names what it passes
    expected: bool,  # noqa: FBT001
) -> None:
    assert coloured(environment, terminal=terminal) is expected


def test_colour_does_not_count_as_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYSTEMD_COLORS", "1")
    table(Output(), ("A", "B"), [[Cell("x", Style.BAD), Cell("y")]], "thing")
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head == "\x1b[0;4mA B\x1b[0m"
    assert row == "\x1b[0;1;31mx\x1b[0m y"


@pytest.mark.parametrize("mode", ["short", "pretty"])
def test_json_has_no_control_characters(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    Output(mode=mode).json({"name": "\x1b\x9b\u202e"})
    out = capsys.readouterr().out
    assert out.strip().replace("\n", "").isascii()
    assert "\x1b" not in out
    assert json.loads(out) == {"name": "\x1b\x9b\u202e"}
