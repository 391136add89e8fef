"""What was typed: the command, its own arguments, and the options that all commands share.

Shared options may stand before or after the command, as with systemctl.
"""

from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Never

from koi_agent import __version__
from koi_agent.cli.output import Output
from koi_agent.core.errors import KoiError

PROGRAM = "koi-runtime"
JSON = ("pretty", "short", "off")


class Misuse(KoiError):
    """The command line makes no sense."""


class Arguments(Namespace):
    """What was typed; ``scope`` is ``None`` where it is to be decided.

    ``names`` are of ``show`` and ``explain``, ``backend`` is of ``resync``; ``runtime``,
    ``no_runtime`` and ``log_level`` are those of ``run``, ``remove`` is of ``install-units``.
    """

    command: str
    scope: str | None = None
    json: str = "off"
    no_legend: bool = False
    names: Sequence[str] = ()
    backend: str | None = None
    runtime: str | None = None
    no_runtime: bool = False
    log_level: str | None = None
    remove: bool = False


def no_arguments(_parser: ArgumentParser) -> None:
    """Take no more than the shared options."""


@dataclass(frozen=True, slots=True)
class Command:
    """A row in the table of commands; ``act`` returns the exit code, or raises ``KoiError``."""

    name: str
    summary: str
    act: Callable[[Arguments, Output], int]
    takes: Callable[[ArgumentParser], None]


class Parser(ArgumentParser):
    """An argparse whose complaint is one line like all others'."""

    def error(self, message: str) -> Never:
        raise Misuse(f"{message} (see {self.prog} --help)")


def parser(commands: Sequence[Command], default: str) -> Parser:
    """Make the parser of a table of commands; ``default`` stands where none is named."""
    shared = _shared()
    made = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [OPTIONS...] COMMAND ...",
        description="Query the agent that knows everything that runs on this host, or be it.",
        epilog=f"Without a command: {default}. See {PROGRAM} COMMAND --help.",
        formatter_class=RawDescriptionHelpFormatter,
        parents=[shared],
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    made.set_defaults(command=default)
    rows = made.add_subparsers(title="commands", metavar="COMMAND", dest="command", prog=PROGRAM)
    for command in commands:
        row = rows.add_parser(
            command.name,
            help=command.summary,
            description=command.summary + ".",
            parents=[shared],
            allow_abbrev=False,
        )
        command.takes(row)
    return made


def _shared() -> Parser:
    """Make the options that stand before and after the command: one not given sets nothing."""
    shared = Parser(add_help=False, argument_default=SUPPRESS)
    scope = shared.add_mutually_exclusive_group()
    for name, whose in (("system", "the system's agent"), ("user", "the user's agent")):
        scope.add_argument(
            f"--{name}",
            dest="scope",
            action="store_const",
            const=name,
            help=f"{whose} (default {'as root' if name == 'system' else 'otherwise'})",
        )
    shared.add_argument("--json", metavar="MODE", choices=JSON, help="pretty, short or off")
    shared.add_argument(
        "--no-legend", action="store_true", help="no headers and no count below tables"
    )
    shared.add_argument("--no-pager", action="store_true", help="accepted; there is no pager")
    return shared


def parsed(argv: Sequence[str], commands: Sequence[Command], default: str) -> Arguments:
    """Read a command line; raises ``Misuse``, or ``SystemExit`` after --help and --version."""
    arguments = parser(commands, default).parse_args(argv, Arguments())
    arguments.command = arguments.command or default
    return arguments
