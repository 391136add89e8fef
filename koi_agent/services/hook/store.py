"""Keeps the connections, so that none ends with the process.

A descriptor that is sent over a Unix socket stays open until it is received. So all connections are
sent into a socket pair, the queue, whose two ends the service manager keeps. The next process finds
them there, in the order in which they were added. The service manager does no work for a
connection, although users can make systemd-resolved open thousands in a second.
"""

import logging
import os
import socket
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Final

from koi_agent.host.descriptors import Manager

log = logging.getLogger(__name__)

QUEUE: Final = "links"
"""The name of both ends of the queue in the service manager."""
SLACK: Final = 16
"""Maximum number of closed connections in the queue beyond the number of open ones."""
_BUFFER: Final = 212992
"""Bytes for the queue: the most that Linux allows by default. A connection takes 768 of 425984."""
_MARK: Final = 16
"""Size of the mark of a process in the queue, in bytes."""
_RIGHTS: Final = socket.CMSG_SPACE(array("i").itemsize)
"""Size of a descriptor in a message, in bytes."""


class Store:
    """The queue, and the connections in it, by their descriptors."""

    def __init__(self, manager: Manager, ends: Sequence[socket.socket]) -> None:
        """Use the two ends from the previous process; without these, make a queue."""
        self._manager = manager
        self._is_kept = len(ends) == 2
        if not self._is_kept:
            for one in ends:
                one.close()
            ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for one in ends:
            one.settimeout(0)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        first, second = ends
        self._reading, self._writing = (first, second) if _has_data(first) else (second, first)
        self._mark = os.urandom(_MARK)
        self._queue: deque[tuple[int, int]] = deque()  # descriptors, each with a number
        self._numbers: dict[int, int] = {}  # of the open connections, by descriptor
        self._last = 0
        self.keep()

    @property
    def is_behind(self) -> bool:
        """True if the service manager does not have the queue yet: ``keep`` sends it later."""
        return not self._is_kept

    def keep(self) -> None:
        """Send the queue to the service manager, unless it has it."""
        if not self._is_kept:
            ends = (self._reading.fileno(), self._writing.fileno())
            self._is_kept = self._manager.store(QUEUE, *ends)

    def close(self) -> None:
        """Close the ends of this process."""
        self._reading.close()
        self._writing.close()

    def left(self) -> Sequence[socket.socket]:
        """Add all connections that the previous process has left, and return them.

        Each is added before it is removed from the beginning of the queue. So a process that is
        killed in between leaves it twice.
        """
        found: dict[int, socket.socket] = {}
        while (connections := self._first()) is not None:
            for one in connections:
                inode = os.fstat(one.fileno()).st_ino
                if inode in found:
                    one.close()
                else:
                    found[inode] = one
                    self.add(one.fileno())
            self._reading.recv(_MARK)
        return [*found.values()]

    def add(self, descriptor: int) -> None:
        """Add a connection."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))
        try:
            self._writing.sendmsg([self._mark], [rights])
        except OSError as error:
            log.warning("a connection would end with this process: %s", error.strerror)
            return
        self._last += 1
        self._numbers[descriptor] = self._last
        self._queue.append((descriptor, self._last))

    def forget(self, descriptor: int) -> None:
        """Forget a connection that is about to be closed."""
        self._numbers.pop(descriptor, None)
        while self._queue:
            first, number = self._queue[0]
            if self._numbers.get(first) == number:
                if len(self._queue) <= 2 * len(self._numbers) + SLACK:
                    return
                self.add(first)  # at the end, so that its first entry can be removed
                if self._numbers[first] == number:
                    return
            self._queue.popleft()
            self._reading.recv(_MARK)  # without its descriptor, which the kernel closes

    def _first(self) -> Sequence[socket.socket] | None:
        """Return the connection of the first message, None if this process has sent it."""
        try:
            # socket.recv_fds() ignores its flags.
            mark, rights, _, _ = self._reading.recvmsg(_MARK, _RIGHTS, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        found = [socket.socket(fileno=array("i", data)[0]) for _, _, data in rights]
        if mark != self._mark:
            return found
        for one in found:
            one.close()
        return None


def _has_data(end: socket.socket) -> bool:
    try:
        return bool(end.recv(_MARK, socket.MSG_PEEK))
    except BlockingIOError:
        return False
