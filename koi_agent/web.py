"""Serves HTTP wherever there is a socket for it; aiohttp is loaded with the first of them."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Never

from koi_agent import __version__
from koi_agent.capabilities.health.checker import Checker
from koi_agent.config import Config
from koi_agent.core.changes import Event
from koi_agent.core.errors import ConfigError
from koi_agent.core.grace import Grace
from koi_agent.core.registry import Registry
from koi_agent.host.sockets import NoSocket
from koi_agent.listening import Listening
from koi_agent.publishers.dbus.publisher import DBusPublisher

if TYPE_CHECKING:
    from koi_agent.publishers.http.pages import Facts
    from koi_agent.publishers.http.publisher import HTTPPublisher


class Web:
    """An event sink; of ``bus_publisher`` it shows how the agent is, of ``checker`` the checks."""

    def __init__(
        self,
        listening: Listening,
        registry: Registry,
        grace: Grace,
        bus_publisher: DBusPublisher,
        checker: Checker,
    ) -> None:
        self._checker = checker
        self._listening = listening
        self._registry = registry
        self._grace = grace
        self._bus_publisher = bus_publisher
        self._publisher: HTTPPublisher | None = None
        self._changed = asyncio.Event()
        self._load()

    def _load(self) -> None:
        if self._publisher is None and self._listening.sockets:
            from koi_agent.publishers.http.publisher import (  # noqa: PLC0415
                HTTPPublisher,  # 16 MB and 0.15 s, which an agent without a socket need not spend
            )

            self._publisher = HTTPPublisher(self._registry, self._grace, self._facts)

    def _facts(self) -> "Facts":
        from koi_agent.publishers.http.pages import Facts  # noqa: PLC0415 - as above

        shown = self._bus_publisher
        return Facts(
            version=__version__,
            state=shown.state,
            waiting={"dbus": shown.waiting},
            dropped={"dbus": shown.dropped},
            checks=self._checker.status,
            checked=self._checker.counts,
        )

    def publish(self, events: Sequence[Event]) -> None:
        """Pass events on."""
        if self._publisher:
            self._publisher.publish(events)

    async def run(self) -> Never:
        """Serve on the sockets that there are, until cancelled."""
        while True:
            self._changed.clear()
            async with asyncio.TaskGroup() as group:
                serving = self._publisher and group.create_task(
                    self._publisher.serve(self._listening.sockets), name="serve sockets"
                )
                await self._changed.wait()
                if serving:
                    serving.cancel()
            self._listening.trim()

    def change(self, config: Config) -> None:
        """Listen as configured now; raises ``ConfigError``, and then all is as it was."""
        try:
            news = self._listening.change(config)
        except NoSocket as error:
            raise ConfigError(f"[HTTP] Listen=: {error}") from error
        if news:
            self._load()
            self._changed.set()
