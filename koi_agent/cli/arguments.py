"""The parsed command line."""

from collections.abc import Sequence

from koi_agent import __version__
from koi_agent.cli.syntax import DEFAULT, PROGRAM
from koi_agent.core.errors import KoiError

VERSION = f"{PROGRAM} {__version__}"


class UsageError(KoiError):
    """The command line is invalid."""


class Arguments:
    """The parsed command line; ``scope`` is ``None`` if no option chose one.

    ``run`` and ``install-units`` then depend on the user; ``agent`` does not.
    ``names`` belong to the commands that take instances, ``backend`` to ``resync``, ``remove`` to
    ``install-units``; ``runtime``, ``no_runtime`` and ``log_level`` belong to ``run``. Those from
    ``backends`` on belong to ``list``, ``full`` also to other tables.
    """

    command: str = DEFAULT
    scope: str | None = None
    json: str = "off"
    no_legend: bool = False
    no_pager: bool = False
    names: Sequence[str] = ()
    backend: str | None = None
    runtime: str | None = None
    no_runtime: bool = False
    log_level: str | None = None
    remove: bool = False
    backends: str | None = None
    state: str | None = None
    health: str | None = None
    announced: bool = False
    columns: str | None = None
    sort: str | None = None
    full: bool = False
    quiet: bool = False

    @property
    def agent(self) -> str:
        """The scope of the agent to connect to: the system's, as systemctl's manager is."""
        return self.scope or "system"
