"""The table of commands, and the one place where what they raise becomes a line and a code."""

from collections.abc import Sequence
from functools import partial

from koi_agent.cli import (
    cat_config,
    explain,
    install_units,
    listing,
    reload,
    resolve,
    resync,
    run,
    show,
    status,
    watch,
)
from koi_agent.cli.arguments import Arguments, Command, Misuse, no_arguments, parsed
from koi_agent.cli.output import Output, ReaderGone, complain
from koi_agent.core.errors import KoiError

DEFAULT = "list"
FAILURE, USAGE, INTERRUPTED = 1, 2, 130


def commands(be_agent: run.BeAgent) -> Sequence[Command]:
    """Make the table; a new command is a new row."""
    rows = (
        ("list", "List all instances", listing.act, no_arguments),
        ("show", "Show all that is known of instances", show.act, resolve.takes),
        ("explain", "Explain why instances are announced, or not", explain.act, resolve.takes),
        ("status", "Show how the agent and its backends are", status.act, no_arguments),
        ("watch", "Print what happens as it happens", watch.act, no_arguments),
        ("resync", "List what runs anew, now", resync.act, resync.takes),
        ("reload", "Have the agent read its configuration anew", reload.act, no_arguments),
        ("doctor", "Find out what is wrong, and what to do", _doctor, no_arguments),
        ("cat-config", "Show what is set, and who set it", cat_config.act, no_arguments),
        (
            "install-units",
            "Install the units of a user's agent",
            install_units.act,
            install_units.takes,
        ),
        ("run", "Run the agent in the foreground", partial(run.act, be_agent), run.takes),
    )
    return [Command(*row) for row in rows]


def _doctor(arguments: Arguments, output: Output) -> int:
    """Examine, by what is loaded only now: other commands start sooner without it."""
    from koi_agent.cli.doctor import report  # noqa: PLC0415

    return report.act(arguments, output)


def execute(argv: Sequence[str], be_agent: run.BeAgent) -> int:
    """Do what was typed; returns the exit code."""
    try:
        return _act(argv, commands(be_agent))
    except ReaderGone:
        return 0
    except Misuse as misuse:
        complain(str(misuse))
        return USAGE
    except KoiError as trouble:
        complain(str(trouble))
        return FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED


def _act(argv: Sequence[str], table: Sequence[Command]) -> int:
    try:
        arguments = parsed(argv, table, DEFAULT)
    except SystemExit:  # argparse has written what --help or --version asked for
        Output().flush()
        return 0
    output = Output(mode=arguments.json, legend=not arguments.no_legend)
    act = next(command.act for command in table if command.name == arguments.command)
    code = act(arguments, output)
    output.flush()
    return code
