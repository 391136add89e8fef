"""The entry point of ``koi-runtime``."""

import gc
import sys

from koi_agent import __version__

# The constant of typing, which takes as long to load as --version to run.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from koi_agent.cli.run import Load
    from koi_agent.config import Loaded

GC_THRESHOLDS = 1_000, 20, 1_000
"""Thresholds of the agent's garbage collector: two short generations, and a rare full collection.

During a collection no request is answered, and its time grows with the number of objects. Tracked
instances and inspections form no cycles. ``host/garbage.py`` collects young objects as well.
"""


def main() -> None:
    """Run the command line, and exit with its code."""
    if sys.argv[1:] == ["--version"] and wrote_version():
        sys.exit(0)
    # Imported here because --version needs none of it.
    from koi_agent.cli.commands import execute  # noqa: PLC0415

    sys.exit(execute(sys.argv[1:], run_agent))


def wrote_version() -> bool:
    """Write the version; return False if that fails, which the command then reports."""
    try:
        print(f"koi-runtime {__version__}", flush=True)  # noqa: T201 - the whole command
    except OSError:
        return False
    return True


def run_agent(load: "Load", loaded: "Loaded") -> int:
    """Run the agent; return its exit code."""
    # Before the imports: hardly anything that they create is garbage.
    gc.set_threshold(*GC_THRESHOLDS)
    # Imported here so that other commands start faster.
    from koi_agent.process import run  # noqa: PLC0415

    return run(load, loaded)


if __name__ == "__main__":
    main()
