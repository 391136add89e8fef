"""Where log records go: one small handler, which neither waits nor raises.

Every start and stop of a unit is a record or two, so there is no formatter and no queue
between a log call and the socket.
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
"""Seconds until a slow reader is tried again, if no record does so before; the first ones after
each time that it took something.

A timer, as no poll tells when journald reads: a datagram socket that is not connected always
looks writable, and a connected one would have to be watched for a journald that went away.
"""
LAST_WORDS = 0.5
"""Seconds that the end waits for a reader."""
TRACEBACK_LIMIT = 48 * 1024
"""Bytes of a traceback that are shown, its end. With it a record stays below what a datagram
takes on any kernel (net.core.wmem_default is 208 KiB)."""
STREAM: Final = "JOURNAL_STREAM"


class Target(Protocol):
    """Somebody who takes log records."""

    def form(self, record: LogRecord, message: str, trace: str) -> bytes:
        """Put a record into bytes; ``message`` and ``trace`` are fit to show."""

    def send(self, data: bytes, /) -> int:
        """Send without waiting, and tell how many bytes were taken; raises ``OSError``."""

    def close(self) -> None:
        """Give everything up."""


class LogOutput:
    """The output of all loggers while it is entered; leave it when no loop runs any more.

    ``target`` is ``auto``, ``journal``, ``console`` or ``null``: words of systemd's LogTarget.
    ``auto`` is the journal where standard error goes there, by ``environment``, and else the
    console. ``level`` is one of systemd's words, too. Both can be set at any time; setting
    them, and making this, raises ``BadInput``. ``journal`` is the path of journald's socket.
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
            raise BadInput(f"no log target '{word}'; known: {', '.join(self._targets)}")
        self._target = target = self._targets[word]()
        self._word = word
        self._backlog = LogQueue(target.send, lambda count: formed(target, _loss(count)), lost=lost)

    def write(self, record: LogRecord) -> None:
        """Send a record, or keep it for later; never waits, never raises."""
        with self._lock:
            try:
                data = formed(self._target, record)
            except Exception as error:  # noqa: BLE001 - whatever the text of an argument raises
                place = record.pathname, record.lineno
                if place in self._unwritten:
                    return
                self._unwritten.add(place)
                data = formed(self._target, _unwritable(record, error))
            self._backlog.put(data)
            if self._backlog and not self._retry:
                self._later()

    def _later(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # before the loop, or in a thread: the next record tries again
        self._retry = loop.call_later(next(self._pauses), self._again)

    def _again(self) -> None:
        with self._lock:
            self._retry = None
            owed = len(self._backlog)
            self._backlog.drain()
            if not self._backlog or len(self._backlog) < owed:
                self._pauses = pauses(FIRST_PAUSE, LONGEST_PAUSE)
            if self._backlog:
                self._later()


class _Handler(logging.Handler):
    """What ``logging`` wants an output to be."""

    def __init__(self, output: LogOutput) -> None:
        super().__init__()
        self.emit = output.write  # type: ignore[method-assign]  # a turn less for each record


class Null:
    """Takes all records, and shows them to nobody."""

    def form(self, _record: LogRecord, _message: str, _trace: str) -> bytes:
        return b""

    def send(self, data: bytes) -> int:
        return len(data)

    def close(self) -> None:
        pass


def is_journal(environment: Mapping[str, str], path: str = SOCKET) -> bool:
    """Tell whether standard error goes to a journal that can be written to by its protocol.

    The rule is $JOURNAL_STREAM's in systemd.exec(5).
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


def formed(target: Target, record: LogRecord) -> bytes:
    """Have a target form a record, its text made fit to show; raises what arguments raise."""
    trace = _trace(record) if record.exc_info else ""
    return target.form(record, printable(record.getMessage()), trace)


def _trace(record: LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    text = "".join(traceback.format_exception(*record.exc_info))[-TRACEBACK_LIMIT:].rstrip()
    shown = "\n".join(printable(line) for line in text.split("\n"))
    return shown.encode()[-TRACEBACK_LIMIT:].decode(errors="ignore")


def _loss(count: int) -> LogRecord:
    text = "%d log records lost: nobody read them in time"
    return _own(text, count, extra=journal_fields(MessageId.RECORDS_LOST, KOI_LOST=count))


def _unwritable(record: LogRecord, error: Exception) -> LogRecord:
    text = "a record of %s, line %d, can't be written: %s (told once)"
    return _own(text, record.pathname, record.lineno, type(error).__name__)


def _own(text: str, *values: object, extra: Mapping[str, object] | None = None) -> LogRecord:
    attributes = {"name": __name__, "levelno": logging.WARNING, "msg": text, "args": values}
    return logging.makeLogRecord({**attributes, **(extra or {})})


def _make_records_cheap() -> None:
    """Have ``logging`` not collect what no record shows (its documentation, "Optimization")."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False
