"""What systemd is told of us: ready, alive, how it goes, why it ended (sd_notify(3)).

The library, sdnotify, loses words in four ways, each answered here. It writes Latin-1: a status
in another script loses its whole datagram, READY=1 with it, and of one with an é, which is no
UTF-8, systemd clears the status; so it is handed UTF-8 in Latin-1's clothes. It waits for a
manager that does not read, about eleven datagrams in, and the loop with it; so its socket never
waits, and what does not go out yet is kept, each word with what was said last. It swallows
errors; so it is asked for them. And it gives up for good where the socket is another one than
it was; so it is connected again.
"""

import asyncio
import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from sdnotify import SystemdNotifier  # type: ignore[import-untyped]

from koi_agent.core.text import printable

log = logging.getLogger(__name__)

LAST_WORDS: Final = 0.5
"""Seconds that the end waits for a manager that does not read."""
LONGEST_TEXT: Final = 256
"""Characters of a status. systemd drops datagrams over 4096 bytes unread; two texts may go in
one, and a character costs seven bytes at most (a control's escape, its backslash doubled)."""

_SOCKET: Final = "NOTIFY_SOCKET"
_NO_CHARACTERS: Final = re.compile(
    "[\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
    + "]"
)
"""What Unicode keeps from being characters: systemd takes text with one for no UTF-8."""


class Notifier:
    """Our words to systemd. No method raises or waits; without a manager none does anything.

    Words for a manager that does not read are kept until it does, each only as it was said last:
    of ten states of STATUS the tenth arrives, and READY=1 does in any case.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take NOTIFY_SOCKET out of the environment: it is not for processes that we start."""
        self._peer = _peer(environment.pop(_SOCKET, ""))
        self._door: Any = _opened(self._peer) if self._peer else None
        self._pending: dict[str, str] = {}
        self._status: str | None = None
        self._waiting: asyncio.AbstractEventLoop | None = None
        self._failing = False

    def ready(self, status: str) -> None:
        """Tell that the start, or a reload, is done."""
        self._tell({"STATUS": self._noted(status), "READY": "1"})

    def status(self, text: str) -> None:
        """Tell how it goes, in a line for people; the same again is not told."""
        if self._status != _value(text):
            self._tell({"STATUS": self._noted(text)})

    def reloading(self, status: str) -> None:
        """Tell that the configuration is being read again; ``ready`` must follow."""
        # systemd 257 hears READY before RELOADING where one datagram has both, 252 the last one.
        self._pending.pop("READY", None)
        # By this systemd tells the reload that it asked for from one before it.
        now = str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        status = self._noted(status)
        self._tell({"STATUS": status, "RELOADING": "1", "MONOTONIC_USEC": now})

    def stopping(self, status: str) -> None:
        """Tell that the end has begun."""
        self._tell({"STATUS": self._noted(status), "STOPPING": "1"})

    def extend(self, seconds: float) -> None:
        """Ask for that many seconds from now for the start, the reload or the stop under way."""
        self._tell({"EXTEND_TIMEOUT_USEC": str(int(seconds * 1e6))})

    def alive(self) -> None:
        """Tell the watchdog that all is well."""
        self._tell({"WATCHDOG": "1"})

    def failed(self, status: str, *, errno: int = 0, bus_error: str = "") -> None:
        """Tell why we are about to end: an errno, the name of a D-Bus error, where there is one."""
        words = {"STATUS": self._noted(status)}
        if errno:
            words["ERRNO"] = str(errno)
        if bus_error:
            words["BUSERROR"] = _value(bus_error)
        self._tell(words)

    def close(self) -> None:
        """Get the last words out, waiting for ``LAST_WORDS`` seconds, and say no more."""
        if self._door is None:
            return
        self._wait_no_more()
        if self._pending:
            self._door.socket.settimeout(LAST_WORDS)
            self._flush()
        self._wait_no_more()
        self._door.socket.close()
        self._door = None

    def _noted(self, status: str) -> str:
        self._status = _value(status)
        return self._status

    def _tell(self, words: Mapping[str, str]) -> None:
        if self._door is None:
            return
        for key, value in words.items():
            self._pending.pop(key, None)  # what is said last stands last: 252 goes by that
            self._pending[key] = value
        if self._waiting is None:
            self._flush()

    def _flush(self) -> None:
        """Say what is pending, or wait until the manager has read what it was told before."""
        try:
            self._send()
        except BlockingIOError:
            self._wait()
            return
        except OSError as error:  # kept, and tried again with the next word
            if not self._failing:
                peer = printable(self._peer)
                log.warning("systemd can't be told how we are: NOTIFY_SOCKET=%s: %s", peer, error)
            self._failing = True
        else:
            self._pending.clear()
            self._failing = False
        self._wait_no_more()

    def _send(self) -> None:
        text = "\n".join(f"{key}={value}" for key, value in self._pending.items())
        in_disguise = text.encode().decode("latin-1")
        try:
            self._door.notify(in_disguise)
        except (BlockingIOError, TimeoutError):
            raise
        except OSError:  # the socket's owner is gone: perhaps another one has come
            self._door.socket.connect(self._peer)
            self._door.notify(in_disguise)

    def _wait(self) -> None:
        if self._waiting is not None:
            return
        try:
            self._waiting = asyncio.get_running_loop()
        except RuntimeError:  # before or after the loop: close() sees to it
            return
        self._waiting.add_writer(self._door.socket, self._flush)

    def _wait_no_more(self) -> None:
        if self._waiting is not None and not self._waiting.is_closed():
            self._waiting.remove_writer(self._door.socket)
        self._waiting = None


@contextmanager
def extending(notifier: Notifier, *, by: float) -> Iterator[None]:
    """Ask systemd for ``by`` more seconds whenever half of them has passed, until left.

    For what may be slow for a good reason and has a bound of its own. What is faster than half
    of ``by`` asks for nothing; a loop that stands still asks for no more.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def ask() -> None:
        nonlocal timer
        notifier.extend(by)
        timer = loop.call_later(by / 2, ask)

    timer = loop.call_later(by / 2, ask)
    try:
        yield
    finally:
        timer.cancel()


def _peer(address: str) -> str:
    """Read NOTIFY_SOCKET as connect() takes it; empty where there is none that we can use."""
    if address.startswith("@"):
        return "\0" + address[1:]
    if address and not address.startswith("/"):  # vsock: is a virtual machine's word to its host
        log.info("NOTIFY_SOCKET=%s: no Unix socket, nobody is told", printable(address))
        return ""
    return address


def _opened(peer: str) -> SystemdNotifier | None:
    """Make the library's object; ``None`` where nobody listens."""
    # It reads the process's own environment and no other, so the address is lent to that; and
    # it drops a socket that it could not connect, which Python would warn of.
    os.environ[_SOCKET] = peer.replace("\0", "@", 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            door = SystemdNotifier(debug=True)
    except OSError as error:
        log.warning("NOTIFY_SOCKET=%s: nobody is told: %s", printable(peer), error)
        return None
    finally:
        del os.environ[_SOCKET]
    door.socket.settimeout(0)
    return door


def _value(text: str) -> str:
    r"""Make it one line that systemd takes: no newline begins another word.

    systemd 252 takes a backslash for an escape: one at the end of a status would swallow the
    newline and READY=1 after it.
    """
    line = printable(text, LONGEST_TEXT).replace("\\", r"\\")
    return _NO_CHARACTERS.sub("\ufffd", line)
