"""Parses command lines.

Whole options and words, which most command lines have, are parsed here by the tables of
``syntax``. Everything else is left to ``parser``: help texts, errors, combined short options. It
is built with argparse, for all commands, which takes longer than most commands.
"""

from collections.abc import Iterator, Mapping, Sequence

from koi_agent.cli.arguments import Arguments
from koi_agent.cli.syntax import COMMANDS, SHARED, Command, Option


class NotPlain(Exception):
    """The command line has more than whole options and words, or it is not valid."""


def parsed(argv: Sequence[str]) -> Arguments:
    """Parse a command line; raise ``UsageError``, or ``SystemExit`` after --help and --version."""
    try:
        return plain(argv)
    except NotPlain:
        from koi_agent.cli.parser import parsed as parsed_by_argparse  # noqa: PLC0415 - see above

        return parsed_by_argparse(argv)


def plain(argv: Sequence[str]) -> Arguments:
    """Parse a command line of whole options and words as argparse does; raise ``NotPlain``."""
    arguments = Arguments()
    command: Command | None = None
    options = _by_flag(SHARED)
    # The words after the command with their positions, which argparse wants side by side.
    words: dict[int, str] = {}
    positions = iter(range(len(argv)))
    for at in positions:
        if argv[at].startswith("-"):
            _add_option(arguments, argv, at, options, positions)
        elif command is None:
            command = _command(argv[at])
            arguments.command = command.name
            options |= _by_flag(command.options)
        else:
            words[at] = argv[at]
    if words and max(words) - min(words) >= len(words):
        raise NotPlain
    if command:
        _add_words(arguments, command, list(words.values()))
    return arguments


def _by_flag(options: Sequence[Option]) -> dict[str, Option]:
    return {flag: option for option in options for flag in option.flags}


def _command(word: str) -> Command:
    found = [command for command in COMMANDS if command.name == word]
    if not found:
        raise NotPlain
    return found[0]


def _add_option(
    arguments: Arguments,
    argv: Sequence[str],
    at: int,
    options: Mapping[str, Option],
    positions: Iterator[int],
) -> None:
    """Store an option; its value may be the next word, which is then skipped."""
    flag, equals, value = argv[at].partition("=")
    option = options.get(flag)
    if option is None:
        raise NotPlain
    target = option.target or option.name.replace("-", "_")
    match option.action:
        case "store":
            if not equals and at + 1 < len(argv):
                value = argv[next(positions)]
            if not value or value.startswith("-") or (option.strict and value not in option.words):
                raise NotPlain
            setattr(arguments, target, value)
        case "store_true" if not equals:
            setattr(arguments, target, True)
        case "store_const" if not equals and getattr(arguments, target) in (None, option.name):
            setattr(arguments, target, option.name)
        case _:
            raise NotPlain


def _add_words(arguments: Arguments, command: Command, words: list[str]) -> None:
    """Store the words after the command, if it takes this many."""
    argument = command.argument
    match argument.nargs if argument else "", len(words):
        case ("", 0) | ("?", 0):
            pass
        case "?", 1:
            arguments.backend = words[0]
        case ("+", count) if count:
            arguments.names = words
        case "*", _:
            arguments.names = words
        case _:
            raise NotPlain
