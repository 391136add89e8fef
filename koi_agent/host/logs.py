"""Writes log records to the journal or to standard error, without blocking or raising.

Every start and stop of a unit makes a record or two. So there is no formatter and no queue of
``logging`` between a log call and the socket.
"""

import asyncio
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from logging import LogRecord
from pathlib import Path
from threading import RLock
from typing import Final, Protocol, Self

from koi_agent.core import message_ids
from koi_agent.core.backoff import pauses
from koi_agent.core.errors import BadInput
from koi_agent.core.message_ids import MessageId, journal_fields
from koi_agent.core.text import printable
from koi_agent.host.console import STDERR, Console
from koi_agent.host.journal import SOCKET, Journal
from koi_agent.host.log_queue import LogQueue

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 5.0
"""Seconds until a slow reader is tried again, unless a record does so before. After each record
that it takes, the first one applies again.

A timer is needed because no poll shows that journald has read: an unconnected datagram socket
always looks writable, and a connected one would have to be watched for a restart of journald.
"""
LAST_WORDS = 0.5
"""Seconds that the output waits for a reader when it is closed."""
TRACEBACK_LIMIT = 48 * 1024
"""Bytes of a traceback that are logged, from its end. A record then fits into a datagram on any
kernel (net.core.wmem_default is 208 KiB)."""
STREAM: Final = "JOURNAL_STREAM"


class Target(Protocol):
    """A destination of log records."""

    def format(self, record: LogRecord, message: str, trace: str) -> bytes:
        """Return a record as bytes; ``message`` and ``trace`` are printable."""

    def send(self, data: bytes, /) -> int:
        """Send without blocking; returns bytes sent. Raises ``OSError``."""

    def close(self) -> None:
        """Close all descriptors."""


class LogOutput:
    """The output of all loggers inside the context, which must be left after the event loop ends.

    ``target`` is ``auto``, ``journal``, ``console`` or ``null``, as in systemd's LogTarget.
    ``auto`` is the journal if standard error is connected to it, by ``environment``, and else the
    console. ``level`` is a level of systemd's LogLevel. Both can be set at any time. The
    constructor and the setters raise ``BadInput``. ``journal`` is the path of journald's socket.
    """

    def __init__(
        self, level: int, target: str, environment: Mapping[str, str], *, journal: str = SOCKET
    ) -> None:
        to_journal = partial(Journal, journal)
        self._targets: dict[str, Callable[[], Target]] = {
            "auto": to_journal if is_journal(environment, journal) else _console,
            "journal": to_journal,
            "console": _console,
            "null": Null,
        }
        self._root = logging.getLogger()
        self._levels = level, self._root.level
        self._lock = RLock()
        self._handler = _Handler(self)
        self._pauses = pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._retry: asyncio.TimerHandle | None = None
        self._unwritten: set[tuple[str, int]] = set()
        self._open(target, lost=0)

    def __enter__(self) -> Self:
        _make_records_cheap()
        self._root.addHandler(self._handler)
        self._root.setLevel(self._levels[0])
        return self

    def __exit__(self, *_: object) -> None:
        self._root.setLevel(self._levels[1])
        self._root.removeHandler(self._handler)
        patience = time.monotonic() + LAST_WORDS
        self._backlog.drain()
        while self._backlog and time.monotonic() < patience:
            time.sleep(0.001)
            self._backlog.drain()
        self._target.close()

    @property
    def level(self) -> str:
        return message_ids.level_word(self._root.level)

    @level.setter
    def level(self, word: str) -> None:
        self._root.setLevel(message_ids.level(word))

    @property
    def target(self) -> str:
        return self._word

    @target.setter
    def target(self, word: str) -> None:
        with self._lock:
            self._backlog.drain()
            before = self._target
            self._open(word, lost=len(self._backlog))
        before.close()

    def _open(self, word: str, *, lost: int) -> None:
        if word not in self._targets:
            raise BadInput(f"not a log target: '{word}'; use {', '.join(self._targets)}")
        self._target = target = self._targets[word]()
        self._word = word
        self._backlog = LogQueue(
            target.send, lambda count: formatted(target, _loss(count)), lost=lost
        )

    def write(self, record: LogRecord) -> None:
        """Send a record, or keep it for later; neither blocks nor raises."""
        with self._lock:
            try:
                data = formatted(self._target, record)
            except Exception as error:  # noqa: BLE001 - whatever the text of an argument raises
                place = record.pathname, record.lineno
                if place in self._unwritten:
                    return
                self._unwritten.add(place)
                data = formatted(self._target, _unwritable(record, error))
            self._backlog.put(data)
            if self._backlog and not self._retry:
                self._retry_later()

    def _retry_later(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # before the loop runs, or in a thread: the next record tries again
        self._retry = loop.call_later(next(self._pauses), self._try_again)

    def _try_again(self) -> None:
        with self._lock:
            self._retry = None
            pending = len(self._backlog)
            self._backlog.drain()
            if not self._backlog or len(self._backlog) < pending:
                self._pauses = pauses(FIRST_PAUSE, LONGEST_PAUSE)
            if self._backlog:
                self._retry_later()


class _Handler(logging.Handler):
    """The handler that ``logging`` calls."""

    def __init__(self, output: LogOutput) -> None:
        super().__init__()
        self.emit = output.write  # type: ignore[method-assign]  # saves a call for each record


class Null:
    """Discards all records."""

    def format(self, _record: LogRecord, _message: str, _trace: str) -> bytes:
        return b""

    def send(self, data: bytes) -> int:
        return len(data)

    def close(self) -> None:
        pass


def is_journal(environment: Mapping[str, str], path: str = SOCKET) -> bool:
    """Return True if standard error is connected to the journal, and its socket exists.

    The rule is that of $JOURNAL_STREAM in systemd.exec(5).
    """
    try:
        status = os.fstat(STDERR)
        same = environment.get(STREAM) == f"{status.st_dev}:{status.st_ino}"
        return same and Path(path).is_socket()
    except OSError:
        return False


def _console() -> Target:
    try:
        return Console()
    except OSError:
        return Null()  # there is no standard error


def formatted(target: Target, record: LogRecord) -> bytes:
    """Return a record as a target formats it, printable; raises what its arguments raise."""
    trace = _trace(record) if record.exc_info else ""
    return target.format(record, printable(record.getMessage()), trace)


def _trace(record: LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    text = "".join(traceback.format_exception(*record.exc_info))[-TRACEBACK_LIMIT:].rstrip()
    shown = "\n".join(printable(line) for line in text.split("\n"))
    return shown.encode()[-TRACEBACK_LIMIT:].decode(errors="ignore")


def _loss(count: int) -> LogRecord:
    text = "%d log records lost: they were not read in time"
    return _record(text, count, extra=journal_fields(MessageId.RECORDS_LOST, KOI_LOST=count))


def _unwritable(record: LogRecord, error: Exception) -> LogRecord:
    text = "%s:%d: a log record can't be formatted: %s; this is logged once"
    return _record(text, record.pathname, record.lineno, type(error).__name__)


def _record(text: str, *values: object, extra: Mapping[str, object] | None = None) -> LogRecord:
    attributes = {"name": __name__, "levelno": logging.WARNING, "msg": text, "args": values}
    return logging.makeLogRecord({**attributes, **(extra or {})})


def _make_records_cheap() -> None:
    """Disable what ``logging`` collects and no record shows (its documentation, "Optimization")."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False
