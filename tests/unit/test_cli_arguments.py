"""Parsing of the command line."""

import os
import subprocess
import sys

import pytest

from koi_agent.cli.arguments import Arguments, UsageError
from koi_agent.cli.command_line import parsed
from koi_agent.cli.commands import acts
from koi_agent.cli.output import complain
from koi_agent.cli.syntax import COMMANDS


def parse(*argv: str) -> Arguments:
    return parsed(argv)


def test_every_command_of_the_table_has_a_function() -> None:
    assert list(acts(lambda _load, _loaded: 0)) == [command.name for command in COMMANDS]


@pytest.mark.parametrize("argv", [("--user", "list"), ("list", "--user")], ids=" ".join)
def test_a_shared_option_may_precede_or_follow_the_command(argv: tuple[str, ...]) -> None:
    arguments = parse(*argv)
    assert (arguments.command, arguments.scope) == ("list", "user")


def test_options_before_and_after_the_command_are_combined() -> None:
    arguments = parse("--json=short", "--no-legend", "show", "--system", "--no-pager", "web")
    assert arguments.json == "short"
    assert arguments.no_legend
    assert arguments.scope == "system"
    assert arguments.names == ["web"]


def test_the_last_option_counts() -> None:
    assert parse("--json=short", "list", "--json=pretty").json == "pretty"


def test_without_arguments_instances_are_listed_as_a_table() -> None:
    arguments = parse()
    assert (arguments.command, arguments.json, arguments.scope) == ("list", "off", None)
    assert not arguments.no_legend


def as_user(uid: int) -> tuple[str, ...]:
    """Return a command that runs another one with a user ID, which keeps access to the files."""
    return ("unshare", "--user", f"--map-user={uid}")


NO_BUS = "unix:path=/nonexistent/bus"


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize(
    ("option", "bus"), [((), "system"), (("--system",), "system"), (("--user",), "user")]
)
def test_every_user_connects_to_the_systems_agent_unless_an_option_says_otherwise(
    uid: int, option: tuple[str, ...], bus: str
) -> None:
    buses = {"DBUS_SYSTEM_BUS_ADDRESS": NO_BUS, "DBUS_SESSION_BUS_ADDRESS": NO_BUS}
    env = os.environ | buses
    for command in ("list", "show x", "status", "watch", "resync", "reload"):
        argv = (sys.executable, "-m", "koi_agent", *command.split(), *option)
        done = subprocess.run(
            (*as_user(uid), *argv), check=False, capture_output=True, text=True, env=env
        )
        assert f"koi-runtime: {bus} bus at {NO_BUS}: connection failed" in done.stderr, command


@pytest.mark.parametrize(
    "argv",
    [
        ("frobnicate",),
        ("status", "extra"),
        ("list", "--use"),
        ("list", "--user", "--system"),
        ("--json=xml", "list"),
        ("show",),
    ],
    ids=" ".join,
)
def test_an_invalid_command_line_is_an_error_of_one_line(argv: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as refused:
        parse(*argv)
    assert "--help" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_has_a_help_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(name, "--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"koi-runtime {name}" in text
    assert text.isascii()  # argparse fails on other characters where the locale is C


def test_an_error_is_printed_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("no '\x1b[31mred\n'")
    assert capsys.readouterr().err == "koi-runtime: no '\\x1b[31mred\\x0a'\n"


def test_clients_import_neither_the_agent_nor_a_backend() -> None:
    program = "import sys, koi_agent.__main__, koi_agent.cli.commands; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = done.stdout.decode().split()
    assert "koi_agent.cli.commands" in loaded
    parts = ("agent", "backends", "follow", "host", "publishers")
    assert not [name for name in loaded if name.startswith(tuple(f"koi_agent.{p}" for p in parts))]
