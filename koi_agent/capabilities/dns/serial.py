"""The serial of the zones: it grows with each change, even across restarts (RFC 1982).

The file contains a serial that no zone has had yet. It is written before the serials below it are
used, so that no serial is used again after a kill. Without the file, serials start from the time.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from koi_agent.core.text import printable
from koi_agent.host.files import replace
from koi_agent.host.state import state_directory

log = logging.getLogger(__name__)

RESERVED: Final = 1000
"""Serials that are reserved by each write of the file."""
_HALF: Final = 2**31
_WHOLE: Final = 2**32


def is_newer(one: int, other: int) -> bool:
    """Return True if a serial is greater than another one in the arithmetic of RFC 1982."""
    return 0 < (one - other) % _WHOLE < _HALF


def state_file(scope: str, environment: Mapping[str, str]) -> Path:
    """Return the path of the file for a scope, ``system`` or ``user``."""
    return state_directory(scope, environment) / "serial"


class Serial:
    """The serials; ``clock`` returns seconds since the epoch."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        now, stored = int(clock()) % _WHOLE, self._stored()
        self.current = now if stored is None or is_newer(now, stored) else stored
        self._limit = self.current
        self._reserve()

    def _stored(self) -> int | None:
        try:
            text = self._file.read_bytes()[:20]
        except OSError:
            return None
        return int(text) % _WHOLE if text.strip().isdigit() else None

    def next(self) -> int:
        """Return the serial for the next change."""
        self.current = (self.current + 1) % _WHOLE
        if not is_newer(self._limit, self.current):
            self._reserve()
        return self.current

    def _reserve(self) -> None:
        """Write a serial that is greater than all that are used until the next write."""
        self._limit = (self.current + RESERVED) % _WHOLE
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(self._file, f"{self._limit}\n", 0o600)
        except OSError as error:
            path = printable(str(self._file))
            text = "%s: the serial of the DNS zones can't be stored: %s; it starts from the time"
            log.warning(text, path, error.strerror)
