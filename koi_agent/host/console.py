"""Log records on standard error: plain on a terminal, with syslog prefixes for whom reads it.

Standard error belongs to others, too: a pipe nobody reads and a stopped terminal must not stop
the agent, and to make the shared descriptor non-blocking would break its other users. So the
same pipe or terminal is opened once more, for us alone.
"""

import contextlib
import os
import select
import socket
import stat
from logging import LogRecord

from koi_agent.core.message_ids import priority

STDERR = 2
AGAIN = f"/proc/self/fd/{STDERR}"
FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Console:
    """Writes to standard error."""

    def __init__(self) -> None:
        """Look at what standard error is; raises ``OSError`` where there is none."""
        self._descriptor = STDERR
        self._prefixes = not os.isatty(STDERR)
        self._is_socket = stat.S_ISSOCK(mode := os.fstat(STDERR).st_mode)
        self._waits = stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
        if self._waits:
            # It can be another user's, as after su: then it is asked before each write.
            with contextlib.suppress(OSError):
                self._descriptor = os.open(AGAIN, FLAGS)

    def send(self, text: bytes) -> int:
        """Write what is taken without waiting; raises ``OSError``."""
        if self._is_socket:
            with socket.socket(fileno=os.dup(STDERR)) as stream:
                return stream.send(text, socket.MSG_DONTWAIT)
        if self._waits and self._descriptor == STDERR:
            text = text[: select.PIPE_BUF]
            if not select.select((), (STDERR,), (), 0)[1]:
                raise BlockingIOError
        return os.write(self._descriptor, text)

    def close(self) -> None:
        """Give up what was opened."""
        if self._descriptor != STDERR:
            os.close(self._descriptor)

    def form(self, record: LogRecord, message: str, trace: str) -> bytes:
        """Put a record into lines, each with its level where a program reads them."""
        prefix = f"<{priority(record.levelno)}>" if self._prefixes else ""
        lines = [message, *trace.split("\n")] if trace else [message]
        return "".join(f"{prefix}{line}\n" for line in lines).encode()
