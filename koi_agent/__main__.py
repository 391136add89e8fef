"""The entry point of ``koi-runtime``."""

import sys
from typing import TYPE_CHECKING

from koi_agent.cli.commands import execute

if TYPE_CHECKING:
    from koi_agent.cli.run import Load
    from koi_agent.config import Loaded


def main() -> None:
    """Run the command line, and exit with its code."""
    sys.exit(execute(sys.argv[1:], run_agent))


def run_agent(load: "Load", loaded: "Loaded") -> int:
    """Run the agent; return its exit code."""
    # Imported here so that other commands start faster.
    from koi_agent.process import run  # noqa: PLC0415

    return run(load, loaded)


if __name__ == "__main__":
    main()
