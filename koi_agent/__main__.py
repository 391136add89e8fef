"""The command ``koi-runtime``."""

import sys

from koi_agent.cli.commands import execute
from koi_agent.cli.run import LoadAgain
from koi_agent.config import Loaded


def main() -> None:
    """Execute the command line and exit with its code."""
    sys.exit(execute(sys.argv[1:], run_agent))


def run_agent(load_again: LoadAgain, loaded: Loaded) -> int:
    """Run the agent; return an exit code."""
    # Imported here, so that the other commands start faster.
    from koi_agent.process import run  # noqa: PLC0415

    return run(load_again, loaded)


if __name__ == "__main__":
    main()
