"""The command line as data: each command, option and argument is one row.

The parser and the shells' completions are built from these tables, and the manual is compared with
them. The module needs only the standard library, because a package builds the completions where
the agent's libraries are not installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from koi_agent.cli.columns import COLUMNS
from koi_agent.config import ACCEPTED, BACKENDS
from koi_agent.core.instance import Health, InstanceState
from koi_agent.core.message_ids import LEVELS

PROGRAM: Final = "koi-runtime"
DEFAULT: Final = "list"
"""The command that is executed if none is given."""

Action = Literal["store", "store_true", "store_const", "help", "version"]
"""What argparse does with an option."""


class Source(StrEnum):
    """A kind of names that only a running agent knows."""

    INSTANCES = "instances"
    BACKENDS = "backends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option, with or without a value."""

    flags: Sequence[str]
    help: str
    action: Action = "store_true"
    # Where the value is stored, if not under the option's name. Of the options that store
    # their name in the same target, one may be given.
    target: str = ""
    metavar: str = ""
    # The values, which --help lists and completions offer.
    words: Sequence[str] = ()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A positional argument.

    ``nargs`` is argparse's: ``?`` for at most one, ``*`` for any number, ``+`` for at least one.
    """

    name: str
    metavar: str
    help: str
    nargs: Literal["?", "*", "+"]
    source: Source


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its own options and its argument; ``paged`` if a terminal needs a pager."""

    name: str
    summary: str
    options: Sequence[Option] = ()
    argument: Argument | None = None
    paged: bool = False


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
        words=("pretty", "short", "off"),
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
        words=tuple(BACKENDS),
        several=True,
        help="List only instances of these backends",
    ),
    Option(
        flags=("--state",),
        action="store",
        metavar="STATE[,STATE...]",
        words=tuple(map(str, InstanceState)),
        several=True,
        help="List only instances in these states",
    ),
    Option(
        flags=("--health",),
        action="store",
        metavar="HEALTH[,HEALTH...]",
        words=tuple(map(str, Health)),
        several=True,
        help="List only instances of this health",
    ),
    Option(flags=("--announced",), help="List only instances that are announced"),
    Option(
        flags=("--columns",),
        action="store",
        metavar="COLUMN[,COLUMN...]",
        words=tuple(COLUMNS),
        several=True,
        help="Show these columns",
    ),
    Option(
        flags=("--sort",),
        action="store",
        metavar="COLUMN",
        words=tuple(COLUMNS),
        strict=True,
        help="Sort by this column",
    ),
    FULL,
    Option(
        flags=("-q", "--quiet"),
        help="Print only names, or the given columns, with one value in each line",
    ),
)
REMOVE: Final = Option(flags=("--remove",), help="Remove the files that this command has written")
RUN: Final[Sequence[Option]] = (
    Option(
        flags=("--runtime",),
        action="store",
        metavar="NAME[,NAME...]",
        words=ACCEPTED,
        several=True,
        variable="KOI_RUNTIME",
        help="Follow these backends",
    ),
    Option(flags=("--no-runtime",), variable="KOI_NO_RUNTIME", help="Follow no backend"),
    Option(
        flags=("--log-level",),
        action="store",
        metavar="LEVEL",
        words=tuple(LEVELS),
        variable="KOI_LOG_LEVEL",
        help="Log records of this level and of higher priority",
    ),
)

COMMANDS: Final[Sequence[Command]] = (
    Command("list", "List instances", LIST, ANY, paged=True),
    Command("show", "Show the properties of instances", argument=INSTANCES, paged=True),
    Command("explain", "Explain why instances are announced or not", (), INSTANCES, paged=True),
    Command("announced", "List the records that are announced", (FULL,), ANY, paged=True),
    Command("status", "Show the status of the agent and its backends", (FULL,), paged=True),
    Command("watch", "Print events until interrupted", argument=ANY),
    Command("resync", "List the instances of backends again", argument=BACKEND),
    Command("reload", "Reload the agent's configuration"),
    Command("doctor", "Check the installation and print what to do"),
    Command("cat-config", "Show the settings and their origins", paged=True),
    Command("install-units", "Install the units of a user's agent", (REMOVE,)),
    Command("run", "Run the agent in the foreground", RUN),
)
