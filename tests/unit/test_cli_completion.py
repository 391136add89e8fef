"""Bash's completion, by bash itself, against the command's own table."""

import os
import subprocess
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from koi_agent.cli.arguments import JSON, parser
from koi_agent.cli.commands import DEFAULT, commands
from koi_agent.config import ACCEPTED
from koi_agent.core.messages import LEVELS
from tests.conftest import require

COMPLETION = Path(__file__).parents[2] / "packaging/completion/bash/koi-runtime"
PARSER = parser(commands(lambda _load_again, _loaded: 0), DEFAULT)

# As bash has it when TAB is pressed at the end of the line: it breaks words at = and : too.
PRESS_TAB = """\
set -eu
source "$0"
[[ $(complete -p koi-runtime) == *'-F _koi_runtime '* ]]
COMP_WORDBREAKS=${BREAKS-$COMP_WORDBREAKS} COMP_LINE=$1 COMP_POINT=${#1}
_koi_runtime koi-runtime
printf '%s\\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}
"""
AGENT = """\
#!/bin/bash
echo "$*" >>"$0.asked"
case $1 in
    list) printf '%s\\n' "web  systemd running" "web-2 docker running" '$(touch${IFS}pwned) x' ;;
    status) printf '%s\\n' "● koi-runtime" "  State: running" "Instances: 2" "" "docker synced" \
        "systemd synced" ;;
esac
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A search path on which there is an agent to ask."""
    program = tmp_path / "koi-runtime"
    program.write_text(AGENT)
    program.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def completed(line: str, cwd: Path, env: Mapping[str, str] | None = None) -> list[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", PRESS_TAB, COMPLETION, line],
        env=os.environ | dict(env or {}),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def subcommands() -> Mapping[str, ArgumentParser]:
    (rows,) = (a for a in PARSER._actions if isinstance(a, _SubParsersAction))
    return dict(rows.choices)


def options(of: ArgumentParser) -> Iterator[str]:
    """The options of a parser, with = after those that take a value."""
    for action in of._actions:
        for option in action.option_strings:
            yield f"{option}=" if action.nargs is None else option


def test_every_command_is_offered_and_no_other(tmp_path: Path) -> None:
    assert sorted(completed("koi-runtime ", tmp_path)) == sorted(subcommands())
    assert sorted(completed("koi-runtime --json short --user re", tmp_path)) == ["reload", "resync"]


@pytest.mark.parametrize("command", subcommands())
def test_every_option_of_a_command_is_offered_and_no_other(command: str, tmp_path: Path) -> None:
    offered = completed(f"koi-runtime {command} -", tmp_path)
    assert sorted(offered) == sorted(options(subcommands()[command]))


def test_every_option_before_the_command_is_offered(tmp_path: Path) -> None:
    assert sorted(completed("koi-runtime -", tmp_path)) == sorted(options(PARSER))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("koi-runtime --json ", JSON),
        ("koi-runtime --json=", JSON),
        ("koi-runtime list --json=p", ["pretty"]),
        ("koi-runtime run --log-level=", LEVELS),
        ("koi-runtime run --runtime ", ACCEPTED),
        ("koi-runtime run --runtime=", ACCEPTED),
        ("koi-runtime run --runtime=docker,s", ["docker,systemd"]),
        ("koi-runtime run --runtime docker,s", ["docker,systemd"]),
        ("koi-runtime run --no-runtime=", []),
        ("koi-runtime list ", []),
    ],
)
def test_values_are_those_that_are_accepted(line: str, offered: list[str], tmp_path: Path) -> None:
    assert completed(line, tmp_path) == list(offered)


def test_where_bash_does_not_break_words_the_whole_word_is_offered(tmp_path: Path) -> None:
    whole = completed("koi-runtime --json=s", tmp_path, {"BREAKS": " "})
    assert whole == ["--json=short"]


@pytest.mark.parametrize("command", ["show", "explain web"])
def test_instances_are_offered_by_name(command: str, path: str, tmp_path: Path) -> None:
    assert completed(f"koi-runtime {command} w", tmp_path, {"PATH": path}) == ["web", "web-2"]


def test_the_agent_that_is_meant_is_asked(path: str, tmp_path: Path) -> None:
    completed("koi-runtime --user show ", tmp_path, {"PATH": path})
    assert (tmp_path / "koi-runtime.asked").read_text() == "list --user --no-legend\n"


def test_a_name_is_never_run(path: str, tmp_path: Path) -> None:
    offered = completed("koi-runtime show ", tmp_path, {"PATH": path})
    assert offered[-1] == r"\$\(touch\$\{IFS\}pwned\)"
    assert not (tmp_path / "pwned").exists()


def test_the_backends_of_the_agent_are_offered_once(path: str, tmp_path: Path) -> None:
    env = {"PATH": path}
    assert completed("koi-runtime resync ", tmp_path, env) == ["docker", "systemd"]
    assert completed("koi-runtime resync --json=short s", tmp_path, env) == ["systemd"]
    assert completed("koi-runtime resync docker ", tmp_path, env) == []


@pytest.mark.parametrize("program", ["exit 1", "echo broken >&2; exit 1", "sleep 9"])
def test_an_agent_that_is_not_there_is_no_noise(program: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "koi-runtime").write_text(f"#!/bin/bash\n{program}\n")
    assert completed("koi-runtime show ", tmp_path, {"PATH": path}) == []


def test_it_has_no_complaint_of_shellcheck(tmp_path: Path) -> None:
    try:
        done = subprocess.run(
            ["shellcheck", COMPLETION], capture_output=True, text=True, check=False, cwd=tmp_path
        )
    except FileNotFoundError:
        require("shellcheck", "not installed")
    assert (done.returncode, done.stdout) == (0, "")
