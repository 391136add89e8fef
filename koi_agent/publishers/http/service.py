"""Serves HTTP on the agent's sockets, and imports aiohttp with the first socket."""

import asyncio
import socket
from collections.abc import Callable, Sequence
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
        self._hosts: Sequence[str] = sockets.hosts
        self._import()

    def _import(self) -> None:
        if self._publisher is None and self._sockets.sockets:
            # aiohttp takes 16 MB and 0.15 s: an agent without a socket does not import it.
            from koi_agent.publishers.http.publisher import HTTPPublisher  # noqa: PLC0415

            self._publisher = HTTPPublisher(self._registry, self._grace, self._status)
            self._publisher.names.configured = self._hosts

    def publish(self, events: Sequence[Event]) -> None:
        """Pass events to the publisher, if there is one."""
        if self._publisher:
            self._publisher.publish(events)

    async def run(self) -> Never:
        """Serve on the current sockets until cancelled."""
        while True:
            self._changed.clear()
            async with asyncio.TaskGroup() as group:
                serving = self._publisher and group.create_task(
                    self._publisher.serve(self._sockets.sockets), name="serve sockets"
                )
                await self._changed.wait()
                if serving:
                    serving.cancel()
            self._sockets.trim()

    def change(self, config: Config) -> None:
        """Apply ``[HTTP]``; raise ``ConfigError`` and change nothing if a socket fails."""
        before = self._sockets.sockets
        try:
            self._sockets.change(config, self._release)
        except NoSocket as error:
            raise ConfigError(f"[HTTP] Listen=: {error}") from error
        finally:
            if self._sockets.sockets != before:
                self._import()
                self._changed.set()
        self._set_hosts(config.http.hosts)

    def _set_hosts(self, hosts: Sequence[str]) -> None:
        self._hosts = hosts
        if self._publisher:
            self._publisher.names.configured = hosts

    def _release(self, listening: socket.socket) -> None:
        if self._publisher:
            self._publisher.release(listening)
