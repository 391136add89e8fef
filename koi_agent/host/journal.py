"""Writes log records to journald by its native protocol, with the fields that they carry.

The protocol is https://systemd.io/JOURNAL_NATIVE_PROTOCOL. ``systemd.journal.sendv`` is not used:
it holds the interpreter's lock while it waits for journald, which stops the event loop from any
thread.
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
"""journald's socket; in a unit with LogNamespace= it is that of the namespace."""
NAME_LIMIT = 64
"""Characters in the name of a field; journald drops a field with a longer one."""
FIELDS = re.compile("(KOI|CONTAINER)_[A-Z0-9_]+|MESSAGE_ID|ERRNO")
"""Names of the fields that a log call may set by ``extra={"koi": {…}}``."""


class Journal:
    """Sends datagrams to journald; one that was restarted gets the next record."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def send(self, datagram: bytes) -> int:
        """Send a record without blocking; returns bytes sent. Raises ``OSError``."""
        return self._socket.sendto(datagram, self._path)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def format(self, record: LogRecord, message: str, trace: str) -> bytes:
        """Return a record as a datagram; ``message`` and ``trace`` are printable."""
        fields = "".join(_extra_fields(record))
        if record.levelno >= WARNING or record.levelno <= DEBUG:
            fields += _code_fields(record)  # for problems only: a third of a record's cost
        head = f"PRIORITY={_priority(record.levelno)}\nSYSLOG_IDENTIFIER={IDENTIFIER}\n{fields}"
        if not trace:
            return f"{head}MESSAGE={message}\n".encode()
        texts = _binary_field("MESSAGE", f"{message}\n{trace}") + _binary_field(
            "EXCEPTION_TEXT", trace
        )
        return head.encode() + texts


def _extra_fields(record: LogRecord) -> Iterator[str]:
    """Yield the fields that a log call has set."""
    extra = getattr(record, "koi", None)
    if isinstance(extra, Mapping):
        for name, value in extra.items():
            if _allowed(name):
                yield f"{name}={printable(str(value))}\n"


def _code_fields(record: LogRecord) -> str:
    """Return the fields of the place in the code; "" for a record that has none."""
    if not record.pathname:
        return ""
    file, function = printable(record.pathname), printable(record.funcName or "")
    return f"CODE_FILE={file}\nCODE_LINE={record.lineno}\nCODE_FUNC={function}\n"


_priority = lru_cache(maxsize=64)(priority)


@lru_cache(maxsize=64)
def _allowed(name: str) -> bool:
    return len(name) <= NAME_LIMIT and FIELDS.fullmatch(name) is not None


def _binary_field(name: str, value: str) -> bytes:
    """Return a field whose value has more than one line."""
    data = value.encode()
    return b"%b\n%b%b\n" % (name.encode(), pack("<Q", len(data)), data)
