"""Executes commands: loads the module of a command, and returns the exit code for each error."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from koi_agent.cli.arguments import VERSION, Arguments, UsageError
from koi_agent.cli.command_line import parsed
from koi_agent.cli.output import Output, ReaderGone, complain
from koi_agent.cli.syntax import COMMANDS
from koi_agent.core.errors import KoiError

if TYPE_CHECKING:
    from koi_agent.cli.run import RunAgent

FAILURE, USAGE, INTERRUPTED = 1, 2, 130

Act = Callable[[Arguments, Output], int]
"""Executes a command; returns the exit code, or raises ``KoiError``."""


def acts(run_agent: "RunAgent") -> Mapping[str, Act]:
    """Return what executes each command of ``syntax.COMMANDS``, by its name."""
    return {
        command.name: partial(_act, command.module)
        if command.name != "run"
        else partial(_run, run_agent)
        for command in COMMANDS
    }


def _act(module: str, arguments: Arguments, output: Output) -> int:
    """Execute a command; only its own module is loaded, so that each command starts fast."""
    code: int = import_module(f"koi_agent.cli.{module}").act(arguments, output)
    return code


def _run(run_agent: "RunAgent", arguments: Arguments, output: Output) -> int:
    from koi_agent.cli.run import act  # noqa: PLC0415 - as for the other commands

    return act(run_agent, arguments, output)


def execute(argv: Sequence[str], run_agent: "RunAgent") -> int:
    """Execute a command line; return the exit code."""
    try:
        return _execute(argv, acts(run_agent))
    except ReaderGone:
        return 0
    except UsageError as error:
        complain(str(error))
        return USAGE
    except KoiError as error:
        complain(str(error))
        return FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED


def _execute(argv: Sequence[str], table: Mapping[str, Act]) -> int:
    if [*argv] == ["--version"]:
        output = Output()
        output.write(VERSION)
        output.flush()
        return 0
    try:
        arguments = parsed(argv)
    except SystemExit:  # argparse has written what --help or --version asked for
        Output().flush()
        return 0
    has_pager = any(one.paged for one in COMMANDS if one.name == arguments.command)
    paged = has_pager and not arguments.no_pager
    output = Output(mode=arguments.json, legend=not arguments.no_legend, paged=paged)
    code = table[arguments.command](arguments, output)
    output.flush()
    return code
