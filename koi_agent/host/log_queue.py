"""Bytes for somebody who may not read: sent without waiting, kept for a while, then counted.

No log record is worth a wait: what can't be sent at once is kept within a bound, in order,
and what is beyond the bound is lost, and told of as soon as somebody reads again.
"""

import errno
from collections import deque
from collections.abc import Callable

COUNT_LIMIT = 2000
SIZE_LIMIT = 1024 * 1024
"""Records, and bytes of records, that are kept for a reader."""

Send = Callable[[bytes], int]
"""Writes without waiting, and tells how many bytes were taken; raises ``OSError``."""


class LogQueue:
    """What waits for ``send``; ``told`` makes the record that says how many were lost."""

    def __init__(self, send: Send, told: Callable[[int], bytes], *, lost: int = 0) -> None:
        self._send = send
        self._told = told
        self._lost = lost
        self._kept: deque[bytes] = deque()
        self._size = 0

    def __len__(self) -> int:
        """Count the records that have not reached the reader: kept ones and lost ones."""
        return len(self._kept) + self._lost

    def put(self, record: bytes) -> None:
        """Send a record, or keep it, or lose it: the oldest tell best how trouble began."""
        if self._lost:
            self.drain()
        full = len(self._kept) >= COUNT_LIMIT or self._size + len(record) > SIZE_LIMIT
        if full or self._lost:
            self._lost += 1
        else:
            self._keep(record)
            self.drain()

    def drain(self) -> None:
        """Send what the reader takes now; once that was all, tell how many were lost."""
        while self._kept and self._first_sent():
            pass
        if self._lost and not self._kept:
            self._keep(self._told(self._lost))
            self._lost = 0
            self._first_sent()

    def _keep(self, record: bytes) -> None:
        self._kept.append(record)
        self._size += len(record)

    def _first_sent(self) -> bool:
        record = self._kept.popleft()
        try:
            taken = self._send(record)
        except OSError as error:
            too_long = error.errno == errno.EMSGSIZE
            self._lost += too_long  # kept, it would hold up all behind it for ever
            taken = len(record) if too_long else 0
        self._size -= taken
        if taken < len(record):
            self._kept.appendleft(record[taken:])
            return False
        return True
