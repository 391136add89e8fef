"""Notifies systemd of the service's state (sd_notify(3)).

The library, sdnotify, loses notifications in four ways, each of which is avoided here:

- It encodes as Latin-1. A status in another script loses its whole datagram, READY=1 included,
  and systemd clears a status with an é, which is not UTF-8. So it gets UTF-8 bytes decoded as
  Latin-1.
- It blocks after about eleven datagrams that the manager has not read. So its socket is
  non-blocking, and variables that can't be sent yet are kept, each with its last value.
- It ignores errors. So it is used in debug mode, in which it raises them.
- It does not connect again to a socket that was replaced. So it is connected again.
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
"""Seconds that ``close`` waits for a manager that does not read."""
LONGEST_TEXT: Final = 256
"""Characters of a status. systemd drops datagrams of more than 4096 bytes. One may contain two
texts, and a character takes at most seven bytes: the escape of a control, its backslash doubled."""

_SOCKET: Final = "NOTIFY_SOCKET"
_NONCHARACTERS: Final = re.compile(
    "[\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
    + "]"
)
"""Unicode's noncharacters: systemd treats a text that contains one as invalid UTF-8."""


class Notifier:
    """Sends variables to systemd. No method raises or blocks, or does anything without a manager.

    Variables for a manager that does not read are kept, each with its last value: of ten values
    of STATUS the tenth arrives, and READY=1 always does.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Connect to NOTIFY_SOCKET, and remove it from the environment of child processes."""
        self._peer = _peer(environment.pop(_SOCKET, ""))
        self._library: Any = _connected(self._peer) if self._peer else None
        self._pending: dict[str, str] = {}
        self._status: str | None = None
        self._waiting_in: asyncio.AbstractEventLoop | None = None
        self._failing = False

    def ready(self, status: str) -> None:
        """Send READY=1: the start, or a reload, is complete."""
        self._send({"STATUS": self._stored(status), "READY": "1"})

    def status(self, text: str) -> None:
        """Send a status line, unless it is the same as before."""
        if self._status != _value(text):
            self._send({"STATUS": self._stored(text)})

    def reloading(self, status: str) -> None:
        """Send RELOADING=1: the configuration is being read again. ``ready`` must follow."""
        # Of one datagram with both, systemd 257 applies READY first, 252 the last of the two.
        self._pending.pop("READY", None)
        # systemd matches the reload to its own request by MONOTONIC_USEC=.
        now = str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        status = self._stored(status)
        self._send({"STATUS": status, "RELOADING": "1", "MONOTONIC_USEC": now})

    def stopping(self, status: str) -> None:
        """Send STOPPING=1: the service has begun to stop."""
        self._send({"STATUS": self._stored(status), "STOPPING": "1"})

    def extend(self, seconds: float) -> None:
        """Request this many seconds from now for the start, reload or stop that is in progress."""
        self._send({"EXTEND_TIMEOUT_USEC": str(int(seconds * 1e6))})

    def alive(self) -> None:
        """Send a watchdog ping."""
        self._send({"WATCHDOG": "1"})

    def failed(self, status: str, *, errno: int = 0, bus_error: str = "") -> None:
        """Send why the service is about to fail; ``bus_error`` is the name of a D-Bus error."""
        variables = {"STATUS": self._stored(status)}
        if errno:
            variables["ERRNO"] = str(errno)
        if bus_error:
            variables["BUSERROR"] = _value(bus_error)
        self._send(variables)

    def close(self) -> None:
        """Send what is pending, waiting ``LAST_WORDS`` seconds at most, and close the socket."""
        if self._library is None:
            return
        self._stop_waiting()
        if self._pending:
            self._library.socket.settimeout(LAST_WORDS)
            self._flush()
        self._stop_waiting()
        self._library.socket.close()
        self._library = None

    def _stored(self, status: str) -> str:
        self._status = _value(status)
        return self._status

    def _send(self, variables: Mapping[str, str]) -> None:
        if self._library is None:
            return
        for key, value in variables.items():
            self._pending.pop(key, None)  # the last one comes last: 252 applies that
            self._pending[key] = value
        if self._waiting_in is None:
            self._flush()

    def _flush(self) -> None:
        """Send what is pending, or wait until the manager has read earlier datagrams."""
        try:
            self._send_pending()
        except BlockingIOError:
            self._wait()
            return
        except OSError as error:  # kept, and sent with the next variable
            if not self._failing:
                peer = printable(self._peer)
                log.warning("NOTIFY_SOCKET=: can't notify systemd: %s: %s", peer, error)
            self._failing = True
        else:
            self._pending.clear()
            self._failing = False
        self._stop_waiting()

    def _send_pending(self) -> None:
        text = "\n".join(f"{key}={value}" for key, value in self._pending.items())
        disguised = text.encode().decode("latin-1")
        try:
            self._library.notify(disguised)
        except (BlockingIOError, TimeoutError):
            raise
        except OSError:  # the socket may have been replaced
            self._library.socket.connect(self._peer)
            self._library.notify(disguised)

    def _wait(self) -> None:
        if self._waiting_in is not None:
            return
        try:
            self._waiting_in = asyncio.get_running_loop()
        except RuntimeError:  # before or after the loop runs: close() sends it
            return
        self._waiting_in.add_writer(self._library.socket, self._flush)

    def _stop_waiting(self) -> None:
        if self._waiting_in is not None and not self._waiting_in.is_closed():
            self._waiting_in.remove_writer(self._library.socket)
        self._waiting_in = None


@contextmanager
def extending(notifier: Notifier, *, by: float, most: float) -> Iterator[None]:
    """Request ``by`` more seconds whenever half of them have passed, until the context is left.

    For work that may be slow. Work that takes less than half of ``by`` requests nothing, and
    neither does a blocked event loop. After ``most`` seconds, nothing is requested any longer: the
    work hangs, and the service manager kills the service.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + most
    timer: asyncio.TimerHandle

    def extend() -> None:
        nonlocal timer
        if loop.time() > end:
            log.error(
                "start or stop: not done after %g s: this is a bug; systemd may kill the agent",
                most,
            )
            return
        notifier.extend(by)
        timer = loop.call_later(by / 2, extend)

    timer = loop.call_later(by / 2, extend)
    try:
        yield
    finally:
        timer.cancel()


def _peer(address: str) -> str:
    """Return NOTIFY_SOCKET as an address for connect(); "" if it can't be used."""
    if address.startswith("@"):
        return "\0" + address[1:]
    if address and not address.startswith("/"):  # vsock: a virtual machine notifies its host
        log.info("NOTIFY_SOCKET=: not a Unix socket, not notified: %s", printable(address))
        return ""
    return address


def _connected(peer: str) -> SystemdNotifier | None:
    """Return the library's object, connected; None if the socket refuses."""
    # The library only reads os.environ, so the address is put there meanwhile. It drops a socket
    # that it could not connect, of which Python would warn.
    os.environ[_SOCKET] = peer.replace("\0", "@", 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            library = SystemdNotifier(debug=True)
    except OSError as error:
        log.warning("NOTIFY_SOCKET=: can't connect: %s: %s", printable(peer), error)
        return None
    finally:
        del os.environ[_SOCKET]
    library.socket.settimeout(0)
    return library


def _value(text: str) -> str:
    r"""Return a text as one line, in which no newline begins another variable.

    systemd 252 parses a backslash as an escape: at the end of a status it would remove the newline
    and with it READY=1 on the next line.
    """
    line = printable(text, LONGEST_TEXT).replace("\\", r"\\")
    return _NONCHARACTERS.sub("\ufffd", line)
