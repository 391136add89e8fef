"""Executes commands: the table of what acts, and the exit code for each kind of error."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Final

from koi_agent.cli import run
from koi_agent.cli.arguments import Arguments, UsageError, parsed
from koi_agent.cli.output import Output, ReaderGone, complain
from koi_agent.cli.syntax import COMMANDS
from koi_agent.core.errors import KoiError

PAGED: Final = frozenset(command.name for command in COMMANDS if command.paged)
FAILURE, USAGE, INTERRUPTED = 1, 2, 130

Act = Callable[[Arguments, Output], int]
"""Executes a command; returns the exit code, or raises ``KoiError``."""


MODULES: Final[Mapping[str, str]] = {
    "list": "listing",
    "show": "show",
    "explain": "explain",
    "announced": "announced",
    "status": "status",
    "watch": "watch",
    "resync": "resync",
    "reload": "reload",
    "doctor": "doctor.report",
    "cat-config": "cat_config",
    "install-units": "install_units",
}
"""The module of each command; it has a function ``act``."""


def acts(run_agent: run.RunAgent) -> Mapping[str, Act]:
    """Return what executes each command of ``syntax.COMMANDS``, by its name."""
    return {
        **{command: partial(_act, module) for command, module in MODULES.items()},
        "run": partial(run.act, run_agent),
    }


def _act(module: str, arguments: Arguments, output: Output) -> int:
    """Execute a command; only its own module is loaded, so that each command starts fast."""
    code: int = import_module(f"koi_agent.cli.{module}").act(arguments, output)
    return code


def execute(argv: Sequence[str], run_agent: run.RunAgent) -> int:
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
    try:
        arguments = parsed(argv)
    except SystemExit:  # argparse has written what --help or --version asked for
        Output().flush()
        return 0
    paged = not arguments.no_pager and arguments.command in PAGED
    output = Output(mode=arguments.json, legend=not arguments.no_legend, paged=paged)
    code = table[arguments.command](arguments, output)
    output.flush()
    return code
