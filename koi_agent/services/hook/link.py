"""One connection of systemd-resolved.

A request stays in the kernel until it is answered: it is peeked at first and removed last. So the
next process finds it if this one is killed. systemd-resolved sees no end of a connection, because
all of them are kept (``store``). The request for the filter is never removed.
"""

import socket
import struct
from contextlib import suppress
from typing import Final

from koi_agent.services.hook.messages import END

LONGEST: Final = 64 * 1024
"""Maximum size of a request in bytes."""
_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred: process, user, group


class Gone(Exception):
    """The peer has closed the connection, or violates the rules of Varlink."""


class Link:
    """A connection. ``follows`` is True once it has the request for the filter."""

    def __init__(self, sock: socket.socket, *, is_adopted: bool = False) -> None:
        sock.settimeout(0)
        self.follows = False
        self.filter: tuple[str, ...] | None = None
        self._socket = sock
        self._unsent = b""
        self._is_adopted = is_adopted

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    @property
    def user(self) -> int:
        """The user of the peer."""
        size = _CREDENTIALS.size
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        user: int = _CREDENTIALS.unpack(credentials)[1]
        return user

    @property
    def is_behind(self) -> bool:
        """True while the peer has not read what was sent."""
        return bool(self._unsent)

    def request(self) -> bytes | None:
        """Return the first request without its end, or None if it is not whole yet; raise ``Gone``.

        The peer sends one request at a time. So the previous process has answered all requests in
        front of an adopted one.
        """
        is_first, self._is_adopted = self._is_adopted, False
        try:
            data = self._socket.recv(LONGEST, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Gone from error
        if not data or (len(data) == LONGEST and END not in data):
            raise Gone
        if is_first:
            data = self._without_answered(data)
        message, end, _ = data.partition(END)
        return message if end else None

    def _without_answered(self, data: bytes) -> bytes:
        answered = data.rstrip(END).rfind(END) + 1
        if answered:
            self._socket.recv(answered)
        return data[answered:]

    def take(self, request: bytes) -> None:
        """Remove a request that is answered."""
        self._socket.recv(len(request) + len(END))

    def send(self, data: bytes) -> None:
        """Send as much as the peer can take, and keep the rest; raise ``Gone``."""
        self._unsent += data
        self.flush()

    def flush(self) -> None:
        """Send what is kept; raise ``Gone``."""
        if not self._unsent:
            return
        try:
            sent = self._socket.send(self._unsent, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError as error:
            raise Gone from error
        self._unsent = self._unsent[sent:]

    def close(self) -> None:
        """Close the connection, including the descriptor that is kept."""
        with suppress(OSError):  # the peer has closed it
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
