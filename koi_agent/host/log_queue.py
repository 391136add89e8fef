"""Queues log records for a reader that may be slow, without ever blocking.

A record that can't be sent at once is kept, in order and within a limit. Records beyond the limit
are lost and counted; their number is logged as soon as the reader has taken the others.
"""

import errno
from collections import deque
from collections.abc import Callable

COUNT_LIMIT = 2000
SIZE_LIMIT = 1024 * 1024
"""Number of records, and bytes of records, that are kept."""

Send = Callable[[bytes], int]
"""Sends bytes without blocking and returns how many were sent; raises ``OSError``."""


class LogQueue:
    """Records that wait for ``send``; ``format_loss`` returns the record that reports lost ones."""

    def __init__(self, send: Send, format_loss: Callable[[int], bytes], *, lost: int = 0) -> None:
        self._send = send
        self._format_loss = format_loss
        self._lost = lost
        self._kept: deque[bytes] = deque()
        self._size = 0

    def __len__(self) -> int:
        """Return the number of records that did not reach the reader: kept and lost ones."""
        return len(self._kept) + self._lost

    def put(self, record: bytes) -> None:
        """Send, keep or drop a record; the oldest are kept: they show how a problem began."""
        if self._lost:
            self.drain()
        full = len(self._kept) >= COUNT_LIMIT or self._size + len(record) > SIZE_LIMIT
        if full or self._lost:
            self._lost += 1
        else:
            self._keep(record)
            self.drain()

    def drain(self) -> None:
        """Send what the reader takes now; if that was all, report how many records were lost."""
        while self._kept and self._send_first():
            pass
        if self._lost and not self._kept:
            self._keep(self._format_loss(self._lost))
            self._lost = 0
            self._send_first()

    def _keep(self, record: bytes) -> None:
        self._kept.append(record)
        self._size += len(record)

    def _send_first(self) -> bool:
        record = self._kept.popleft()
        try:
            sent = self._send(record)
        except OSError as error:
            too_long = error.errno == errno.EMSGSIZE
            self._lost += too_long  # it can never be sent, and would hold up all others
            sent = len(record) if too_long else 0
        self._size -= sent
        if sent < len(record):
            self._kept.appendleft(record[sent:])
            return False
        return True
