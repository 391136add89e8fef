"""One listening socket and its connections.

aiohttp's own runner closes connections that it has accepted and not read yet; here each one
that was accepted is answered. A socket that systemd passed is neither shut down nor closed:
while nobody accepts, its queue goes on.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from aiohttp import web

from koi_agent.publishers.http.connection import Connection

log = logging.getLogger(__name__)

CONNECTIONS = 64
"""Connections of one socket at once; more wait in the kernel's queue."""
TURN = 16
"""Connections accepted before others get a turn."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What accept() says where something is used up that others may give back."""
PAUSE = 1.0
"""Seconds until it is tried again."""


class Listener:
    """Accepts for ``server`` once opened; ``group`` owns the tasks."""

    def __init__(
        self,
        listening: socket.socket,
        server: web.Server,
        count: Callable[[int], None],
        group: asyncio.TaskGroup,
    ) -> None:
        self.empty = asyncio.Event()
        self._socket = listening
        self._server = server
        self._count = count
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._open = False
        self._accepting = False
        self._told = False

    def open(self) -> None:
        """Begin to accept."""
        self._open = True
        self._resume()

    def close(self) -> None:
        """Accept no more, and bring what was accepted to an end; ``empty`` tells when it has."""
        self._pause()
        self._open = False
        for connection in self._connections:
            connection.leave()
        self._note()

    def abort(self) -> int:
        """Cut what is left; returns how many that was."""
        left = len(self._connections)
        for connection in list(self._connections):
            connection.abort()
        return left

    def rested(self) -> None:
        self._resume()

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._resume()
        self._note()

    def _note(self) -> None:
        if not self._open and not self._connections:
            self.empty.set()

    def _resume(self) -> None:
        if self._open and not self._timer and not self._accepting:
            self._accepting = True
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _pause(self) -> None:
        self._accepting = False
        self._loop.remove_reader(self._socket.fileno())
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _accept(self) -> None:
        if len(self._connections) >= CONNECTIONS:
            self._make_room()
            return
        for _ in range(min(TURN, CONNECTIONS - len(self._connections))):
            try:
                accepted, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            self._told = False
            accepted.settimeout(0)
            connection = Connection(self._server, self, self._count)
            self._connections.add(connection)
            self._group.create_task(self._connect(connection, accepted), name="connect")

    def _make_room(self) -> None:
        """Give up the connection that has been idle the longest; wait if there is none."""
        self._pause()
        idle = [connection for connection in self._connections if connection.idle]
        if idle:
            min(idle, key=lambda connection: connection.idle_since).abort()

    def _rest(self, error: OSError) -> None:
        """Wait until others have given back what is used up."""
        if error.errno not in EXHAUSTED:
            log.debug("a connection was lost before it was accepted: %s", error)
            return
        if not self._told:
            log.warning("can't accept connections now, trying again every second: %s", error)
        self._told = True
        self._pause()
        self._timer = self._loop.call_later(PAUSE, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self._resume()

    async def _connect(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError as error:
            log.debug("a connection was lost as it was accepted: %s", error)
            accepted.close()
            self.left(connection)
