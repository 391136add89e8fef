"""Command lines of whole options and words are parsed as argparse parses them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from koi_agent.cli import parser
from koi_agent.cli.arguments import Arguments, UsageError
from koi_agent.cli.command_line import NotPlain, plain
from koi_agent.cli.syntax import COMMANDS, MAIN, SHARED, Command, Option

FIELDS = ("command", "agent", *Arguments.__annotations__)
WORDS = ("web", "w*", "docker", "list", "a b", "", "x=y", "-", "--", "-1", "-x", "--no-such", "ä")


def values(arguments: Arguments) -> Mapping[str, Any]:
    found = {name: getattr(arguments, name) for name in FIELDS}
    return found | {"names": list(found["names"])}


def spellings(option: Option) -> Iterator[tuple[str, ...]]:
    """Yield the ways in which an option can be written, right and wrong."""
    for flag in option.flags:
        yield (flag,)
        yield (f"{flag}=off",)
        yield (flag, "off")
        for word in option.words:
            yield (f"{flag}={word}",)
            yield (flag, word)
        yield (flag[:-1],)
        yield (f"{flag}=",)


def lines(command: Command) -> st.SearchStrategy[list[str]]:
    """Draw command lines of a command, of which some are valid."""
    options = [*SHARED, *command.options]
    known = st.sampled_from([one for option in options for one in spellings(option)])
    foreign = st.sampled_from(
        [one for option in (*MAIN, *COMMANDS[0].options) for one in spellings(option)]
    )
    words = st.lists(st.sampled_from(WORDS[:3]) | st.sampled_from(WORDS), max_size=3).map(tuple)
    part = st.one_of(known, known, known, words, foreign)
    before = st.lists(
        st.sampled_from([one for row in SHARED for one in spellings(row)]), max_size=2
    )
    return st.tuples(before, st.just([(command.name,)]), st.lists(part, max_size=4)).map(
        lambda parts: [word for group in parts for one in group for word in one]
    )


def by_argparse(argv: Sequence[str]) -> Mapping[str, Any] | None:
    try:
        return values(parser.parsed(argv))
    except (UsageError, SystemExit):
        return None


@settings(deadline=None, max_examples=400)
@given(argv=st.one_of(*map(lines, COMMANDS)))
@example(argv=["list", "-q", "web"])
@example(argv=["list", "web", "-q", "api"])
@example(argv=["list", "-ql"])
@example(argv=["--user", "list", "--system"])
@example(argv=["list", "--json", "--no-legend"])
@example(argv=["resync", "docker", "podman"])
@example(argv=["--version", "list"])
@example(argv=["list", "--", "web"])
def test_what_is_parsed_without_argparse_is_parsed_alike(argv: list[str]) -> None:
    try:
        found = values(plain(argv))
    except NotPlain:
        return
    assert found == by_argparse(argv)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "list",
        "--user list -q",
        "list --user --json=short web w*",
        "list --backend docker,podman --state=running --sort=name --columns name,key -l",
        "show web",
        "--json pretty show web api --no-pager",
        "status --full",
        "resync",
        "resync docker",
        "reload",
        "run --runtime=systemd --log-level debug",
        "install-units --user --remove",
    ],
)
def test_usual_command_lines_need_no_argparse(line: str) -> None:
    argv = line.split()
    assert values(plain(argv)) == by_argparse(argv)
