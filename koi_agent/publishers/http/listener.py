"""One listening socket and its connections.

aiohttp's own runner closes connections that it accepted and has not read yet. Here every accepted
connection gets its response. A socket from systemd is neither shut down nor closed: while no
process accepts, connections wait in the kernel's queue.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from aiohttp import web

from koi_agent.publishers.http.connection import Connection
from koi_agent.publishers.http.limits import Limits

log = logging.getLogger(__name__)

SLICE = 16
"""Connections accepted before other tasks get a turn."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept() that pass when other processes or connections free resources."""


class Listener:
    """Accepts connections for ``server`` between ``open`` and ``close``.

    ``group`` owns the tasks. ``empty`` is set when a closed listener has no connection left.
    """

    def __init__(
        self,
        listening: socket.socket,
        server: web.Server,
        count: Callable[[int], None],
        group: asyncio.TaskGroup,
        limits: Limits,
    ) -> None:
        self.empty = asyncio.Event()
        self._socket = listening
        self._server = server
        self._count = count
        self._group = group
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._open = False
        self._accepting = False
        self._warned = False

    def open(self) -> None:
        """Begin to accept connections."""
        self._open = True
        self._resume()

    def close(self) -> None:
        """Stop accepting, and finish the open connections."""
        self._pause()
        self._open = False
        for connection in self._connections:
            connection.finish()
        self._set_empty()

    def abort(self) -> int:
        """Close all connections at once; return their number."""
        number = len(self._connections)
        for connection in list(self._connections):
            connection.abort()
        return number

    def on_idle(self) -> None:
        self._resume()

    def on_closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._resume()
        self._set_empty()

    def _set_empty(self) -> None:
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
        free = self._limits.connections - len(self._connections)
        if free <= 0:
            self._close_idle()
            return
        for _ in range(min(SLICE, free)):
            try:
                accepted, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._on_accept_error(error)
                return
            self._warned = False
            accepted.settimeout(0)
            connection = Connection(self._server, self, self._count, self._limits)
            self._connections.add(connection)
            self._group.create_task(self._connect(connection, accepted), name="connect")

    def _close_idle(self) -> None:
        """Close the connection that has been idle the longest; without one, wait."""
        self._pause()
        idle = [connection for connection in self._connections if connection.idle]
        if idle:
            min(idle, key=lambda connection: connection.idle_since).abort()

    def _on_accept_error(self, error: OSError) -> None:
        """Pause if a resource is exhausted; another error concerns one connection only."""
        if error.errno not in EXHAUSTED:
            log.debug("a connection was lost before it was accepted: %s", error)
            return
        if not self._warned:
            text = "can't accept connections: %s; trying again every %g s"
            log.warning(text, error, self._limits.accept_pause)
        self._warned = True
        self._pause()
        self._timer = self._loop.call_later(self._limits.accept_pause, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self._resume()

    async def _connect(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError as error:
            log.debug("a connection was lost after it was accepted: %s", error)
            accepted.close()
            self.on_closed(connection)
