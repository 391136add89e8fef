"""Executes commands: the table of what acts, and the exit code for each kind of error."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from koi_agent.cli import (
    announced,
    cat_config,
    explain,
    install_units,
    listing,
    reload,
    resync,
    run,
    show,
    status,
    watch,
)
from koi_agent.cli.arguments import Arguments, UsageError, parsed
from koi_agent.cli.output import Output, ReaderGone, complain
from koi_agent.core.errors import KoiError

FAILURE, USAGE, INTERRUPTED = 1, 2, 130

Act = Callable[[Arguments, Output], int]
"""Executes a command; returns the exit code, or raises ``KoiError``."""


def acts(run_agent: run.RunAgent) -> Mapping[str, Act]:
    """Return what executes each command of ``syntax.COMMANDS``, by its name."""
    return {
        "list": listing.act,
        "show": show.act,
        "explain": explain.act,
        "announced": announced.act,
        "status": status.act,
        "watch": watch.act,
        "resync": resync.act,
        "reload": reload.act,
        "doctor": _doctor,
        "cat-config": cat_config.act,
        "install-units": install_units.act,
        "run": partial(run.act, run_agent),
    }


def _doctor(arguments: Arguments, output: Output) -> int:
    """Check the installation; the checks are loaded only now, so that other commands start fast."""
    from koi_agent.cli.doctor import report  # noqa: PLC0415

    return report.act(arguments, output)


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
    output = Output(mode=arguments.json, legend=not arguments.no_legend)
    code = table[arguments.command](arguments, output)
    output.flush()
    return code
