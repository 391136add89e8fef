"""Writes log records to standard error, and never waits for its reader.

``host.logs`` keeps records for a journal that does not read, and needs asyncio for this, which
would double the time of the start. Here such records are lost.
"""

import logging
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from koi_agent.core.text import printable

STDERR: Final = 2
LONGEST: Final = 4096
"""Characters of a record, which a pipe or socket with room takes whole."""
_PRIORITIES: Final = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}
"""The priorities that a journal reads from the start of a line (sd-daemon(3))."""


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one line, unless the reader is behind."""
        priority = _PRIORITIES.get(record.levelno, 3)
        text = printable(self.format(record).replace("\n", "; "), LONGEST)
        if select.select([], [STDERR], [], 0)[1]:
            with suppress(OSError):
                os.write(STDERR, f"<{priority}>{text}\n".encode())


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Write all records of this level to standard error until the context is left."""
    root, handler = logging.getLogger(), _Handler()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
