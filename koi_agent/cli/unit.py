"""The log of an instance's unit, for ``show``."""

from collections.abc import Sequence
from contextlib import suppress

from koi_agent.core.text import printable

LINES = 10
"""Lines of the journal, as many as systemctl shows."""
TIMEOUT = 5.0
"""Seconds that journalctl may take."""


def log_lines(unit: str, scope: str) -> Sequence[str]:
    """Return the last lines of a unit's log that the user may read; none without journalctl."""
    import subprocess  # noqa: PLC0415 - only units that are loaded have a log

    option = "--user-unit" if scope == "user" else "--unit"
    command = ("journalctl", "--quiet", "--no-pager", f"--lines={LINES}", f"{option}={unit}")
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(  # noqa: S603 - the name of the unit is one argument
            command, capture_output=True, check=False, timeout=TIMEOUT, text=True, errors="replace"
        )
        return [printable(line) for line in done.stdout.splitlines()]
    return []
