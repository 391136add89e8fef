"""Serves HTTP on the agent's sockets, and imports aiohttp with the first connection."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Never

from koi_agent.config import Config
from koi_agent.core.errors import ConfigError
from koi_agent.core.events import Event
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.registry import Registry
from koi_agent.host.sockets import NoSocket
from koi_agent.publishers.http.agent_status import AgentStatus
from koi_agent.publishers.http.sockets import HTTPSockets

if TYPE_CHECKING:
    from koi_agent.publishers.http.publisher import HTTPPublisher


class HTTPService:
    """An event sink that serves HTTP; ``status`` returns the state of the agent as a whole."""

    def __init__(
        self,
        sockets: HTTPSockets,
        registry: Registry,
        grace: RestartGrace,
        status: Callable[[], AgentStatus],
    ) -> None:
        self._sockets = sockets
        self._registry = registry
        self._grace = grace
        self._status = status
        self._publisher: HTTPPublisher | None = None
        self._changed = asyncio.Event()
        self._unused: set[socket.socket] = set()
        self._accepted: list[socket.socket] = []
        self._hosts: Sequence[str] = sockets.hosts

    def publish(self, events: Sequence[Event]) -> None:
        """Pass events to the publisher, if there is one."""
        if self._publisher:
            self._publisher.publish(events)

    async def run(self) -> Never:
        """Serve on the current sockets until cancelled."""
        while True:
            self._changed.clear()
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(self._serve(), name="serve sockets")
                await self._changed.wait()
                serving.cancel()
            self._sockets.trim()

    async def _serve(self) -> Never:
        if self._publisher is None:
            await self._first_connection()
            self._publisher = self._load()
        accepted, self._accepted = self._accepted, []
        await self._publisher.serve(self._sockets.sockets, accepted)

    async def _first_connection(self) -> None:
        """Wait until a client connects. The kernel queues its connection."""
        if self._accepted:
            return
        connected = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            for one in self._sockets.sockets:
                loop.add_reader(one, connected.set)
                self._unused.add(one)
            await connected.wait()
        finally:
            for one in self._unused:
                loop.remove_reader(one)
            self._unused.clear()

    def _load(self) -> "HTTPPublisher":
        # aiohttp takes 12 MB and 0.15 s: an agent without an HTTP client does not import it.
        from koi_agent.publishers.http.publisher import HTTPPublisher  # noqa: PLC0415

        publisher = HTTPPublisher(self._registry, self._grace, self._status)
        publisher.names.configured = self._hosts
        return publisher

    def change(self, config: Config) -> None:
        """Apply ``[HTTP]``; raise ``ConfigError`` and change nothing if a socket fails."""
        before = self._sockets.sockets
        try:
            self._sockets.change(config, self._release)
        except NoSocket as error:
            raise ConfigError(f"[HTTP] Listen=: {error}") from error
        finally:
            if self._sockets.sockets != before:
                self._changed.set()
        self._set_hosts(config.http.hosts)

    def _set_hosts(self, hosts: Sequence[str]) -> None:
        self._hosts = hosts
        if self._publisher:
            self._publisher.names.configured = hosts

    def _release(self, listening: socket.socket) -> None:
        if listening in self._unused:
            asyncio.get_running_loop().remove_reader(listening)
            self._unused.remove(listening)
            with suppress(OSError):  # BlockingIOError ends it; no other error has a client
                while True:
                    self._accepted.append(listening.accept()[0])
        if self._publisher:
            self._publisher.release(listening)
