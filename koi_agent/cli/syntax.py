"""The command line as data: each command, option and argument is one row.

The parser and the shells' completions are built from these tables, and the manual is compared with
them. The module needs only the standard library, because a package builds the completions where
the agent's libraries are not installed.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, Literal, NamedTuple

PROGRAM: Final = "koi-runtime"
DEFAULT: Final = "list"
"""The command that is executed if none is given."""

Action = Literal["store", "store_true", "store_const", "help", "version"]
"""What argparse does with an option."""


class Source(StrEnum):
    """A kind of names that only a running agent knows."""

    INSTANCES = "instances"
    BACKENDS = "backends"


class Option(NamedTuple):
    """An option, with or without a value."""

    flags: Sequence[str]
    help: str
    action: Action = "store_true"
    # Where the value is stored, if not under the option's name. Of the options that store
    # their name in the same target, one may be given.
    target: str = ""
    metavar: str = ""
    # Returns the values, which --help lists and completions offer.
    values: Callable[[], Iterable[str]] = tuple
    # The parser refuses all other values. Otherwise the configuration checks them.
    strict: bool = False
    # The value is a list of words, separated by commas.
    several: bool = False
    # An environment variable that sets the same.
    variable: str = ""

    @property
    def name(self) -> str:
        """Return the long name without dashes."""
        return self.flags[-1].removeprefix("--")

    @property
    def words(self) -> Sequence[str]:
        """Return the values; what declares them is loaded only now."""
        return tuple(self.values())


class Argument(NamedTuple):
    """A positional argument.

    ``nargs`` is argparse's: ``?`` for at most one, ``*`` for any number, ``+`` for at least one.
    """

    name: str
    metavar: str
    help: str
    nargs: Literal["?", "*", "+"]
    source: Source


class Command(NamedTuple):
    """A command with its own options and its argument; ``paged`` if a terminal needs a pager.

    ``module`` is its module below ``koi_agent.cli``, which has a function ``act``. It is loaded
    when the command is executed.
    """

    name: str
    module: str
    summary: str
    options: Sequence[Option] = ()
    argument: Argument | None = None
    paged: bool = False


def _backends() -> Iterable[str]:
    from koi_agent.config import BACKENDS  # noqa: PLC0415 - see ``Option.words``

    return BACKENDS


def _runtimes() -> Iterable[str]:
    from koi_agent.config import ACCEPTED  # noqa: PLC0415 - see ``Option.words``

    return ACCEPTED


def _states() -> Iterable[str]:
    from koi_agent.core.instance import InstanceState  # noqa: PLC0415 - see ``Option.words``

    return map(str, InstanceState)


def _healths() -> Iterable[str]:
    from koi_agent.core.instance import Health  # noqa: PLC0415 - see ``Option.words``

    return map(str, Health)


def _columns() -> Iterable[str]:
    from koi_agent.cli.columns import COLUMNS  # noqa: PLC0415 - see ``Option.words``

    return COLUMNS


def _levels() -> Iterable[str]:
    from koi_agent.core.message_ids import LEVELS  # noqa: PLC0415 - see ``Option.words``

    return LEVELS


SHARED: Final[Sequence[Option]] = (
    Option(flags=("-h", "--help"), action="help", help="Show this help and exit"),
    Option(
        flags=("--system",),
        action="store_const",
        target="scope",
        help="Connect to the system's agent (the default)",
    ),
    Option(
        flags=("--user",),
        action="store_const",
        target="scope",
        help="Connect to the user's agent",
    ),
    Option(
        flags=("--json",),
        action="store",
        metavar="MODE",
        values=lambda: ("pretty", "short", "off"),
        strict=True,
        help="Write JSON",
    ),
    Option(flags=("--no-legend",), help="Do not print column headers and the count below tables"),
    Option(flags=("--no-pager",), help="Do not show output in a pager"),
)
"""Options that may stand before or after the command."""

MAIN: Final[Sequence[Option]] = (
    Option(flags=("--version",), action="version", help="Show the version and exit"),
)
"""Options that may stand only before the command."""

INSTANCES: Final = Argument(
    name="names",
    metavar="NAME|ID",
    nargs="+",
    source=Source.INSTANCES,
    help="A name, ID, unit or announced name, with or without BACKEND:, or a glob pattern",
)
BACKEND: Final = Argument(
    name="backend",
    metavar="BACKEND",
    nargs="?",
    source=Source.BACKENDS,
    help="List only this backend",
)
ANY: Final = Argument(
    name="names",
    metavar="NAME|PATTERN",
    nargs="*",
    source=Source.INSTANCES,
    help="Only these instances, named as for show",
)
FULL: Final = Option(flags=("-l", "--full"), help="Do not cut columns")
LIST: Final[Sequence[Option]] = (
    Option(
        flags=("--backend",),
        action="store",
        target="backends",
        metavar="NAME[,NAME...]",
        values=_backends,
        several=True,
        help="List only instances of these backends",
    ),
    Option(
        flags=("--state",),
        action="store",
        metavar="STATE[,STATE...]",
        values=_states,
        several=True,
        help="List only instances in these states",
    ),
    Option(
        flags=("--health",),
        action="store",
        metavar="HEALTH[,HEALTH...]",
        values=_healths,
        several=True,
        help="List only instances of this health",
    ),
    Option(flags=("--announced",), help="List only instances that are announced"),
    Option(
        flags=("--columns",),
        action="store",
        metavar="COLUMN[,COLUMN...]",
        values=_columns,
        several=True,
        help="Show these columns",
    ),
    Option(
        flags=("--sort",),
        action="store",
        metavar="COLUMN",
        values=_columns,
        strict=True,
        help="Sort by this column",
    ),
    FULL,
    Option(
        flags=("-q", "--quiet"),
        help="Print only names, or the given columns, with one value on each line",
    ),
)
REMOVE: Final = Option(flags=("--remove",), help="Remove the files that this command has written")
RUN: Final[Sequence[Option]] = (
    Option(
        flags=("--runtime",),
        action="store",
        metavar="NAME[,NAME...]",
        values=_runtimes,
        several=True,
        variable="KOI_RUNTIME",
        help="Follow these backends",
    ),
    Option(flags=("--no-runtime",), variable="KOI_NO_RUNTIME", help="Follow no backend"),
    Option(
        flags=("--log-level",),
        action="store",
        metavar="LEVEL",
        values=_levels,
        variable="KOI_LOG_LEVEL",
        help="Log records of this level and of higher priority",
    ),
)

COMMANDS: Final[Sequence[Command]] = (
    Command("list", "listing", "List instances", LIST, ANY, paged=True),
    Command("show", "show", "Show the properties of instances", argument=INSTANCES, paged=True),
    Command(
        "explain",
        "explain",
        "Explain why instances are announced or not",
        argument=INSTANCES,
        paged=True,
    ),
    Command(
        "announced", "announced", "List the records that are announced", (FULL,), ANY, paged=True
    ),
    Command("dns", "dns", "List DNS records and where they are published", (FULL,), paged=True),
    Command(
        "status", "status", "Show the status of the agent and its backends", (FULL,), paged=True
    ),
    Command("watch", "watch", "Print events until interrupted", argument=ANY),
    Command("resync", "resync", "List the instances of backends again", argument=BACKEND),
    Command("reload", "reload", "Reload the agent's configuration"),
    Command("doctor", "doctor.report", "Check the installation and print what to do"),
    Command("cat-config", "cat_config", "Show the settings and their origins", paged=True),
    Command("install-units", "install_units", "Install the units of a user's agent", (REMOVE,)),
    Command("run", "run", "Run the agent in the foreground", RUN),
)
