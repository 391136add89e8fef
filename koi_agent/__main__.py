"""``koi-runtime``: what was typed, to a command, to an exit code."""

import sys

from koi_agent.cli.commands import execute
from koi_agent.cli.run import LoadAgain
from koi_agent.config import Loaded


def main() -> None:
    """Do what the command line says."""
    sys.exit(execute(sys.argv[1:], be_agent))


def be_agent(load_again: LoadAgain, loaded: Loaded) -> int:
    """Run the agent, which is loaded only now: clients start sooner without it."""
    from koi_agent.process import run  # noqa: PLC0415

    return run(load_again, loaded)


if __name__ == "__main__":
    main()
