"""What may be typed, and what is made of it."""

import subprocess
import sys

import pytest

from koi_agent.cli.arguments import Arguments, Misuse, parsed
from koi_agent.cli.commands import acts
from koi_agent.cli.output import complain
from koi_agent.cli.syntax import COMMANDS


def typed(*argv: str) -> Arguments:
    return parsed(argv)


def test_every_command_of_the_table_is_executed_by_something() -> None:
    assert list(acts(lambda _load_again, _loaded: 0)) == [command.name for command in COMMANDS]


@pytest.mark.parametrize("argv", [("--user", "list"), ("list", "--user")], ids=" ".join)
def test_a_shared_option_stands_before_or_after_the_command(argv: tuple[str, ...]) -> None:
    arguments = typed(*argv)
    assert (arguments.command, arguments.scope) == ("list", "user")


def test_what_stands_before_the_command_is_not_forgotten_for_what_stands_after() -> None:
    arguments = typed("--json=short", "--no-legend", "show", "--system", "--no-pager", "web")
    assert arguments.json == "short"
    assert arguments.no_legend
    assert arguments.scope == "system"
    assert arguments.names == ["web"]


def test_the_later_word_wins() -> None:
    assert typed("--json=short", "list", "--json=pretty").json == "pretty"


def test_nothing_typed_means_the_list_as_a_table_in_the_usual_scope() -> None:
    arguments = typed()
    assert (arguments.command, arguments.json, arguments.scope) == ("list", "off", None)
    assert not arguments.no_legend


@pytest.mark.parametrize(
    "argv",
    [
        ("frobnicate",),
        ("list", "extra"),
        ("list", "--use"),
        ("list", "--user", "--system"),
        ("--json=xml", "list"),
        ("show",),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused_in_one_line(argv: tuple[str, ...]) -> None:
    with pytest.raises(Misuse) as refused:
        typed(*argv)
    assert "--help" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        typed(name, "--help")
    assert ended.value.code == 0
    assert f"koi-runtime {name}" in capsys.readouterr().out


def test_a_complaint_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    complain("no '\x1b[31mred\n'")
    assert capsys.readouterr().err == "koi-runtime: no '\\x1b[31mred\\x0a'\n"


def test_clients_load_neither_the_agent_nor_a_backend() -> None:
    program = "import sys, koi_agent.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = done.stdout.decode().split()
    assert "koi_agent.cli.commands" in loaded
    parts = ("agent", "backends", "follow", "host", "publishers")
    assert not [name for name in loaded if name.startswith(tuple(f"koi_agent.{p}" for p in parts))]
