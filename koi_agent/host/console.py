"""Writes log records to standard error: plain to a terminal, with syslog prefixes elsewhere.

Standard error is shared with other processes. A pipe without a reader and a stopped terminal must
not stop the agent, but making the shared descriptor non-blocking would break the others. So the
same pipe or terminal is opened a second time.
"""

import contextlib
import os
import select
import socket
import stat
from logging import LogRecord

from koi_agent.core.message_ids import priority

STDERR = 2
REOPENED = f"/proc/self/fd/{STDERR}"
FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Console:
    """Writes to standard error."""

    def __init__(self) -> None:
        """Open standard error; raises ``OSError`` if the process has none."""
        self._descriptor = STDERR
        self._prefixes = not os.isatty(STDERR)
        self._is_socket = stat.S_ISSOCK(mode := os.fstat(STDERR).st_mode)
        self._may_block = stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
        if self._may_block:
            # After su it belongs to another user and can't be opened: send() polls it instead.
            with contextlib.suppress(OSError):
                self._descriptor = os.open(REOPENED, FLAGS)

    def send(self, text: bytes) -> int:
        """Write as much as possible without blocking; returns bytes written. Raises ``OSError``."""
        if self._is_socket:
            with socket.socket(fileno=os.dup(STDERR)) as stream:
                return stream.send(text, socket.MSG_DONTWAIT)
        if self._may_block and self._descriptor == STDERR:
            text = text[: select.PIPE_BUF]
            if not select.select((), (STDERR,), (), 0)[1]:
                raise BlockingIOError
        return os.write(self._descriptor, text)

    def close(self) -> None:
        """Close the second descriptor, never standard error itself."""
        if self._descriptor != STDERR:
            os.close(self._descriptor)

    def format(self, record: LogRecord, message: str, trace: str) -> bytes:
        """Return the lines of a record, each with its level as a prefix except on a terminal."""
        prefix = f"<{priority(record.levelno)}>" if self._prefixes else ""
        lines = [message, *trace.split("\n")] if trace else [message]
        return "".join(f"{prefix}{line}\n" for line in lines).encode()
