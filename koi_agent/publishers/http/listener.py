"""One listening socket and its connections.

aiohttp's own runner closes connections that it accepted and has not read yet. Here every accepted
connection gets its response, unless its client has too many. A socket from systemd is neither shut
down nor closed: while no process accepts, connections wait in the kernel's queue.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from aiohttp import web

from koi_agent.core.frozen import frozen
from koi_agent.publishers.http.clients import Client, client_of
from koi_agent.publishers.http.connection import Connection
from koi_agent.publishers.http.limits import Limits
from koi_agent.publishers.http.places import Places

log = logging.getLogger(__name__)

SLICE = 64
"""Connections accepted before other tasks get a turn: about a millisecond."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept() that pass when other processes or connections free resources."""


@frozen(eq=False)
class Waiting:
    """A socket that was accepted and is not read yet."""

    listener: "Listener"
    accepted: socket.socket
    client: Client

    def begin(self) -> Connection:
        """Serve the socket."""
        return self.listener.begin(self)

    def close(self) -> None:
        """Close the socket."""
        self.accepted.close()
        self.listener.forget(self)


class Listener:
    """Accepts connections for ``server`` between ``open`` and ``close``.

    ``places`` are those of all listeners. ``group`` owns the tasks. ``empty`` is set when a closed
    listener has no connection left.
    """

    def __init__(
        self,
        listening: socket.socket,
        server: web.Server,
        places: Places,
        count: Callable[[int], None],
        group: asyncio.TaskGroup,
        limits: Limits,
    ) -> None:
        self.empty = asyncio.Event()
        self._socket = listening
        self._server = server
        self._places = places
        self._count = count
        self._group = group
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._waiting: set[Waiting] = set()
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

    def release(self, listening: socket.socket) -> None:
        """Accept what has connected, and stop using the socket, if it is this one."""
        if listening is self._socket and self._open:
            self._accept()
            self._pause()
            self._open = False

    def abort(self) -> int:
        """Close all connections at once; return their number."""
        number = len(self._connections)
        for connection in list(self._connections):
            connection.abort()
        return number

    def on_idle(self, connection: Connection) -> None:
        self._places.serve_waiting(connection.client)

    def on_closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._places.remove(connection)
        self._set_empty()

    def _set_empty(self) -> None:
        if not self._open and not self._connections and not self._waiting:
            self.empty.set()

    def begin(self, waiting: Waiting) -> Connection:
        """Serve a socket that was accepted."""
        self._waiting.discard(waiting)
        connection = Connection(self._server, self, waiting.client, self._count, self._limits)
        self._connections.add(connection)
        if not self._open:
            connection.finish()
        connecting = self._connect(connection, waiting.accepted)
        self._group.create_task(connecting, name="connect")
        return connection

    def forget(self, waiting: Waiting) -> None:
        """Remove a socket that was closed instead of served."""
        self._waiting.discard(waiting)
        self._set_empty()

    def _resume(self) -> None:
        if self._open and not self._timer and not self._accepting:
            self._accepting = True
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._socket.fileno())
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _accept(self) -> None:
        for _ in range(SLICE):
            try:
                accepted, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._on_accept_error(error)
                return
            self._warned = False
            self.add(accepted)

    def add(self, accepted: socket.socket) -> None:
        """Serve a connection that was accepted, or let it wait."""
        accepted.settimeout(0)
        try:
            waiting = Waiting(self, accepted, client_of(accepted))
        except OSError as error:
            log.debug("a client was gone before its connection was accepted: %s", error)
            accepted.close()
            return
        self._waiting.add(waiting)
        self._places.add(waiting)

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
