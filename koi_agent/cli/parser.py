"""Parses every command line with argparse, by the tables of ``syntax``.

Shared options may stand before or after the command, as with systemctl.
"""

from argparse import SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from typing import Any, Never

from koi_agent.cli.arguments import VERSION, Arguments, UsageError
from koi_agent.cli.syntax import COMMANDS, DEFAULT, MAIN, PROGRAM, SHARED, Command, Option


class Parser(ArgumentParser):
    """An argparse parser that raises ``UsageError`` instead of printing its usage."""

    def error(self, message: str) -> Never:
        raise UsageError(f"{message}; see {self.prog} --help")


def parser() -> Parser:
    """Build the parser of all commands."""
    # An option that is not given stores nothing: the parser of a command would otherwise replace
    # what stands before the command.
    shared = Parser(add_help=False, argument_default=SUPPRESS)
    _add_options(shared, SHARED)
    made = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [OPTIONS...] COMMAND ...",
        description="List, inspect and watch the services and containers of this host.",
        epilog=f"Without a command: {DEFAULT}. See {PROGRAM} COMMAND --help.",
        formatter_class=RawDescriptionHelpFormatter,
        parents=[shared],
        add_help=False,
        allow_abbrev=False,
    )
    _add_options(made, MAIN)
    made.set_defaults(command=DEFAULT)
    rows = made.add_subparsers(title="commands", metavar="COMMAND", dest="command", prog=PROGRAM)
    for command in COMMANDS:
        _add_arguments(
            rows.add_parser(
                command.name,
                help=command.summary,
                description=command.summary + ".",
                parents=[shared],
                add_help=False,
                allow_abbrev=False,
            ),
            command,
        )
    return made


def _add_arguments(row: ArgumentParser, command: Command) -> None:
    _add_options(row, command.options)
    if argument := command.argument:
        row.add_argument(
            argument.name, nargs=argument.nargs, metavar=argument.metavar, help=argument.help
        )


def _add_options(to: ArgumentParser, options: Iterable[Option]) -> None:
    """Add options; those with the same target exclude each other."""
    groups: dict[str, Any] = {}
    for option in options:
        exclusive = option.target and option.action == "store_const"
        if exclusive and option.target not in groups:
            groups[option.target] = to.add_mutually_exclusive_group()
        group = groups.get(option.target, to)
        group.add_argument(*option.flags, action=option.action, **_details(option))


def _details(option: Option) -> dict[str, Any]:
    """Return what argparse wants to know about an option besides its flags and action."""
    words = f": {', '.join(option.words)}" if option.words else ""
    variable = f" (${option.variable})" if option.variable else ""
    details: dict[str, Any] = {"help": f"{option.help}{words}{variable}"}
    match option.action:
        case "store":
            details |= {"metavar": option.metavar}
            details |= {"dest": option.target} if option.target else {}
            details |= {"choices": option.words} if option.strict else {}
        case "store_const":
            details |= {"dest": option.target, "const": option.name}
        case "version":
            details |= {"version": VERSION}
        case "store_true" | "help":
            pass
    return details


def parsed(argv: Sequence[str]) -> Arguments:
    """Parse a command line; raise ``UsageError``, or ``SystemExit`` after --help and --version."""
    arguments = parser().parse_args(argv, Arguments())
    arguments.command = arguments.command or DEFAULT
    return arguments
