"""systemd's journal by its own protocol, with the fields that records bring along.

The protocol is https://systemd.io/JOURNAL_NATIVE_PROTOCOL. ``systemd.journal.sendv`` is not
used: it holds the interpreter's lock while it waits for journald, which would stop the loop
from any thread.
"""

import re
import socket
from collections.abc import Iterator, Mapping
from functools import lru_cache
from logging import DEBUG, WARNING, LogRecord
from struct import pack

from koi_agent.core.message_ids import IDENTIFIER, priority
from koi_agent.core.text import printable

SOCKET = "/run/systemd/journal/socket"
"""journald's; a unit with a LogNamespace= finds its own one there, too."""
NAME_LIMIT = 64
"""Characters a field's name may have (journald drops the field)."""
FIELDS = re.compile("(KOI|CONTAINER)_[A-Z0-9_]+|MESSAGE_ID|ERRNO")
"""Names of the fields that a log call may bring by ``extra={"koi": {…}}``."""


class Journal:
    """Writes to journald; a journald that was away is found again by itself."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def send(self, datagram: bytes) -> int:
        """Send a record without waiting; raises ``OSError``."""
        return self._socket.sendto(datagram, self._path)

    def close(self) -> None:
        """Give the socket up."""
        self._socket.close()

    def form(self, record: LogRecord, message: str, trace: str) -> bytes:
        """Put a record into the protocol; ``message`` and ``trace`` are fit to show."""
        fields = "".join(_brought(record))
        if record.levelno >= WARNING or record.levelno <= DEBUG:
            fields += _place(record)  # for trouble only: it is a third of a record's cost
        head = f"PRIORITY={_priority(record.levelno)}\nSYSLOG_IDENTIFIER={IDENTIFIER}\n{fields}"
        if not trace:
            return f"{head}MESSAGE={message}\n".encode()
        texts = _long("MESSAGE", f"{message}\n{trace}") + _long("EXCEPTION_TEXT", trace)
        return head.encode() + texts


def _brought(record: LogRecord) -> Iterator[str]:
    """Yield the fields that a log call brought along."""
    brought = getattr(record, "koi", None)
    if isinstance(brought, Mapping):
        for name, value in brought.items():
            if _allowed(name):
                yield f"{name}={printable(str(value))}\n"


def _place(record: LogRecord) -> str:
    """Tell where it was logged; a record of the output itself comes from nowhere."""
    if not record.pathname:
        return ""
    file, function = printable(record.pathname), printable(record.funcName or "")
    return f"CODE_FILE={file}\nCODE_LINE={record.lineno}\nCODE_FUNC={function}\n"


_priority = lru_cache(maxsize=64)(priority)


@lru_cache(maxsize=64)
def _allowed(name: str) -> bool:
    return len(name) <= NAME_LIMIT and FIELDS.fullmatch(name) is not None


def _long(name: str, value: str) -> bytes:
    """Form a field whose value has more than one line."""
    data = value.encode()
    return b"%b\n%b%b\n" % (name.encode(), pack("<Q", len(data)), data)
