"""The places of connections: which are served, which wait, and which are closed.

Each client has a share, so that the connections of one never lock out those of another. All
connections are accepted at once, as the kernel's queue has one order for all clients. Those beyond
what is served of a client wait in a queue of the client's own.
"""

import asyncio
from collections import deque
from typing import Protocol

from koi_agent.core.shares import Shares
from koi_agent.publishers.http.clients import Client, privileged
from koi_agent.publishers.http.connection import Connection
from koi_agent.publishers.http.limits import Limits


class Accepted(Protocol):
    """A socket that was accepted and is not read yet."""

    @property
    def client(self) -> Client:
        """The client at its other end."""

    def begin(self) -> Connection:
        """Serve the socket."""

    def close(self) -> None:
        """Close the socket."""


class Places:
    """The connections of all sockets."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._shares = Shares(
            limits.places,
            limits.connections + limits.waiting,
            kept=limits.kept_places,
            privileged=privileged(),
        )
        self._served: dict[Client, dict[Connection, None]] = {}
        self._waiting: dict[Client, deque[Accepted]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, accepted: Accepted) -> None:
        """Serve a socket, let it wait, or close it."""
        client = accepted.client
        if not self._shares.fits(client) and not self._make_room(client):
            accepted.close()
            return
        self._shares.add(client)
        self._waiting.setdefault(client, deque()).append(accepted)
        self.serve_waiting(client)

    def remove(self, connection: Connection) -> None:
        """Free the place of a connection that is closed."""
        self._free(connection)
        self.serve_waiting(connection.client)

    def stop(self) -> None:
        """Close all sockets that wait."""
        for waiting in self._waiting.values():
            while waiting:
                accepted = waiting.pop()
                self._shares.remove(accepted.client)
                accepted.close()
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def serve_waiting(self, client: Client) -> None:
        """Serve the sockets of a client that wait, in places that are free or idle."""
        waiting = self._waiting.get(client)
        while waiting:
            served = self._served.setdefault(client, {})
            if len(served) >= self._limits.connections and not self._close_idle(client):
                break
            served[waiting.popleft().begin()] = None
        if waiting:
            self._start_timer()
        else:
            self._waiting.pop(client, None)

    def _close_idle(self, client: Client) -> bool:
        """Close the connection that has been idle the longest; return False for none."""
        idle = [one for one in self._served[client] if one.idle]
        if idle:
            self._close(min(idle, key=lambda one: one.idle_since))
        return bool(idle)

    def _make_room(self, client: Client) -> bool:
        """Close a connection so that a client gets a place; return False if it gets none.

        A client that has its whole share loses one of its own that is not served.
        """
        if not self._shares.has_share_left(client):
            return self._close_first(client)
        loser = self._shares.first_to_yield(client)
        if not isinstance(loser, Client):
            return False
        if not self._close_first(loser):
            self._close(next(iter(self._served[loser])))
        return True

    def _close_first(self, client: Client) -> bool:
        """Close the connection that a client needs least; return False if all are served.

        The oldest connection without a whole request goes first, then the last one that waits.
        """
        headless = [one for one in self._served.get(client, ()) if one.headless]
        if headless:
            self._close(min(headless, key=lambda one: one.since))
            return True
        if waiting := self._waiting.get(client):
            waiting.pop().close()
            self._shares.remove(client)
            return True
        return self._close_idle(client)

    def _close(self, connection: Connection) -> None:
        connection.abort()
        self._free(connection)

    def _free(self, connection: Connection) -> None:
        served = self._served.get(connection.client, {})
        if connection in served:
            del served[connection]
            self._shares.remove(connection.client)
            if not served:
                del self._served[connection.client]

    def _start_timer(self) -> None:
        if not self._timer:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limits.head_grace / 4, self._close_headless)

    def _close_headless(self) -> None:
        """Close connections that have had time for a request, for those that wait."""
        self._timer = None
        until = asyncio.get_running_loop().time() - self._limits.head_grace
        for client, waiting in list(self._waiting.items()):
            late = [one for one in self._served[client] if one.headless and one.since < until]
            late.sort(key=lambda one: one.since)
            for connection in late[: len(waiting)]:
                self._close(connection)
            self.serve_waiting(client)
