"""Answers requests over TCP (RFC 7766), and sends zones to secondary servers."""

import asyncio
import logging
import socket
from collections import Counter
from contextlib import suppress
from typing import Final, Never

from koi_agent.capabilities.dns.responder.answers import Answers
from koi_agent.timeouts import timeout

log = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 64
MOST_OF_CLIENT: Final = 16
"""Connections of one address at a time."""
IDLE: Final = 10.0
"""Seconds within which a request must arrive completely."""
STALL: Final = 30.0
"""Seconds in which a client must read a message."""
_LONGEST: Final = 4096


class Streams:
    """The connections of all sockets for TCP."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._clients: Counter[str] = Counter()

    async def serve(self, listening: socket.socket) -> Never:
        """Accept connections until cancelled. A connection beyond the bounds is closed."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    connection, address = await loop.sock_accept(listening)
                except OSError as error:  # no descriptor is free, or the client has disconnected
                    log.debug("DNS over TCP: %s", error)
                    await asyncio.sleep(0.1)
                    continue
                client = str(address[0])
                if self._is_full(client):
                    connection.close()
                    continue
                self._clients[client] += 1
                work = self._converse(connection, client)
                group.create_task(work, name=f"DNS connection of {client}")
        raise AssertionError("connections are accepted until cancelled")

    def _is_full(self, client: str) -> bool:
        full = self._clients.total() >= MOST_CONNECTIONS
        return full or self._clients[client] >= MOST_OF_CLIENT

    async def _converse(self, connection: socket.socket, client: str) -> None:
        """Answer the requests of a connection until the client or a time-out ends it."""
        try:
            with connection, suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(sock=connection, limit=_LONGEST)
                try:
                    await self._answer(reader, writer, client)
                finally:
                    writer.transport.abort()
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str
    ) -> None:
        while True:
            async with timeout(IDLE):
                size = int.from_bytes(await reader.readexactly(2), "big")
                if size > _LONGEST:
                    return
                wire = await reader.readexactly(size)
            for message in self._answers.over_tcp(wire, client):
                writer.write(len(message).to_bytes(2, "big") + message)
                async with timeout(STALL):
                    await writer.drain()
                await asyncio.sleep(0)  # let other work continue during a long transfer
