"""The agent: builds all parts, starts them in order, and ends them in order.

All tasks of the agent live in one TaskGroup. A task that ends by itself is a bug: it ends the
agent, and systemd starts it again.
"""

import asyncio
import gc
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Never

from koi_agent import __version__
from koi_agent.announce.controller import Controller
from koi_agent.backends import BACKENDS, Shared
from koi_agent.bus.address import address
from koi_agent.bus.client import ReconnectingBus
from koi_agent.bus.server import Server
from koi_agent.config import Config, Loaded
from koi_agent.core.contracts import Backend, Capability, EventSink
from koi_agent.core.errors import ConfigError, KoiError
from koi_agent.core.events import Change
from koi_agent.core.message_ids import MessageId, journal_fields, level_word
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.registry import Registry
from koi_agent.follow.followers import Followers
from koi_agent.host.garbage import Garbage
from koi_agent.host.logs import LogOutput
from koi_agent.host.network_watch import NetworkWatch
from koi_agent.host.notify import Notifier, extending
from koi_agent.host.own_names import OwnNames
from koi_agent.host.watchdog import Watchdog, interval
from koi_agent.publishers.dbus.configuration import ConfigurationStatus
from koi_agent.publishers.dbus.manager import ManagerActions
from koi_agent.publishers.dbus.publisher import DBusPublisher
from koi_agent.publishers.http.agent_status import AgentStatus, ProxyRoutes, ZoneRecord
from koi_agent.publishers.http.service import HTTPService
from koi_agent.publishers.http.sockets import HTTPSockets
from koi_agent.publishers.journal import JournalPublisher
from koi_agent.publishers.status import StatusPublisher
from koi_agent.timeouts import timeout

log = logging.getLogger(__name__)

BUS_TIMEOUT = 10.0
"""Seconds that a start waits for the bus, and then for the name on it."""
LISTING_TIMEOUT = 10.0
"""Seconds that a start or a reload waits until each backend has listed once."""
EXTENSION = 10.0
"""Seconds by which EXTEND_TIMEOUT_USEC= extends a slow start or stop, each time."""
LONGEST_EXTENSION = 120.0
"""Seconds in which it is extended. The limits of all parts together are lower."""

Load = Callable[[], Loaded]


class NoBus(KoiError):
    """The bus can't be reached at start."""


class Agent:
    """All parts of one agent. ``load`` reads the configuration again. Raises ``NoBus``."""

    def __init__(
        self,
        load: Load,
        loaded: Loaded,
        sockets: HTTPSockets,
        capabilities: Sequence[Capability],
        notifier: Notifier,
        output: LogOutput,
    ) -> None:
        self.hung_up = asyncio.Event()
        self._load = load
        self._config = config = loaded.config
        self._configuration = ConfigurationStatus.in_force(loaded.settings)
        self._notifier = notifier
        self._output = output
        self._registry = Registry({name: name for name in config.backends})
        self._status = StatusPublisher(self._registry, notifier)
        self._grace = RestartGrace(config.restart_grace, time.monotonic)
        self._own_names = OwnNames(self._on_own_names)
        self._controller = Controller(
            capabilities, config, self._grace, self._apply, self._own_names
        )
        self._network = NetworkWatch(self._controller.set_network)
        self._publisher = DBusPublisher(self._registry, __version__, self._actions(), output)
        self._http = HTTPService(sockets, self._registry, self._grace, self._http_status)
        self._server = Server(self._publisher.tree)
        self._bus = _bus(config, self._server)
        self._shared = Shared()
        self._followers = Followers(config, self._registry, self._apply, self._backend)
        self._sinks: Sequence[EventSink] = (
            *(JournalPublisher(), self._grace, self._publisher, self._http),
            *(self._status, self._controller, Garbage()),
        )
        self._configuring = asyncio.Lock()
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    def _actions(self) -> ManagerActions:
        """Return what the methods of the Manager call."""
        return ManagerActions(
            resync=self._resync,
            reload=self._reload,
            decisions=self._controller.decisions,
            network=lambda: self._network.current,
            configuration=lambda: self._configuration,
        )

    def _http_status(self) -> AgentStatus:
        """Return the state of the agent for the HTTP pages."""
        return AgentStatus(
            version=__version__,
            state=self._publisher.state,
            waiting={"dbus": self._publisher.waiting},
            dropped={"dbus": self._publisher.dropped},
            network=self._network.current,
            zone=self._zone,
            proxy=ProxyRoutes(sites=self._sites, traefik=self._traefik),
        )

    async def _zone(self) -> Sequence[ZoneRecord]:
        """Return the records of the DNS zones, for the HTTP pages."""
        from koi_agent.capabilities.dns.printed import printed  # noqa: PLC0415 - rarely requested

        return await printed(self._controller.records("dns"), self._config.dns)

    def _sites(self) -> Sequence[Mapping[str, Any]]:
        """Return the routes of the proxy, for the HTTP pages."""
        from koi_agent.capabilities.proxy.printed import printed  # noqa: PLC0415 - as above

        return printed(self._controller.records("proxy"))

    async def _traefik(self) -> Mapping[str, Any]:
        """Return the routes of the proxy as Traefik reads them, for the HTTP pages."""
        from koi_agent.capabilities.proxy.printed import (  # noqa: PLC0415 - as above
            traefik_document,
        )

        return await traefik_document(self._controller.records("proxy"))

    def _backend(self, name: str, config: Config) -> Backend:
        return BACKENDS[name](self._bus, config, self._shared)

    def _apply(self, change: Change) -> None:
        events = self._registry.apply(change, time.time_ns() // 1000)
        if events:
            for sink in self._sinks:
                sink.publish(events)

    def _on_own_names(self) -> None:
        self._controller.reconsider()

    async def _resync(self, backend: str) -> Mapping[str, Mapping[str, str]]:
        return await self._followers.resync(backend)

    async def run(self) -> Never:
        """Run until cancelled; raise an error of ``process.ENDINGS``, in a group."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_never_returns(self._bus.run()), name="bus")
            group.create_task(_never_returns(self._server.run()), name="server")
            group.create_task(_never_returns(self._network.run()), name="network")
            group.create_task(_never_returns(self._own_names.run()), name="own names")
            try:
                with extending(self._notifier, by=EXTENSION, most=LONGEST_EXTENSION):
                    await self._start(group)
                await self._live(group)
            finally:
                with extending(self._notifier, by=EXTENSION, most=LONGEST_EXTENSION):
                    await self._end()
        raise AssertionError("the agent runs until it is cancelled")

    async def _start(self, group: asyncio.TaskGroup) -> None:
        """Follow, list, publish, accept: the first request is answered with data."""
        await self._await_bus(self._bus.connection())
        self._start_ordered(group, "follow", self._followers.run())
        await self._await_listings()
        self._start_ordered(group, "publish on D-Bus", self._publisher.run(self._bus))
        await self._await_bus(self._publisher.named.wait())
        self._start_ordered(group, "serve HTTP", self._http.run())
        self._start_ordered(group, "announce", self._controller.run())
        gc.freeze()
        log.info("ready: %s", self._status.text(), extra=journal_fields(MessageId.READY))
        self._serve()

    async def _live(self, group: asyncio.TaskGroup) -> Never:
        watchdog = Watchdog(self._notifier, interval(os.environ), self._stuck)
        group.create_task(watchdog.run(), name="watchdog")
        while True:
            await self.hung_up.wait()
            self.hung_up.clear()
            with suppress(ConfigError):  # logged already; SIGHUP has no reply
                await self._reload()

    async def _end(self) -> None:
        """Stop the parts in reverse order; calls and requests in progress are answered."""
        self._ending = True
        self._notifier.stopping("Stopping")
        self._publisher.enter("stopping")
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.wait([task])

    def _start_ordered(
        self, group: asyncio.TaskGroup, name: str, work: Coroutine[Any, Any, Never]
    ) -> None:
        """Start a part that ends in order, while the bus is still connected."""
        self._tasks.append(group.create_task(_never_returns(work), name=name))

    def _stuck(self) -> str:
        """Return why the watchdog is not pinged: a bug of the agent, never a silent runtime."""
        return self._registry.contradiction() or self._followers.overdue()

    async def _await_bus(self, ready: Coroutine[Any, Any, object]) -> None:
        try:
            async with timeout(BUS_TIMEOUT):
                await ready
        except TimeoutError as error:
            raise NoBus(f"no bus at {self._bus.address} within {BUS_TIMEOUT:.0f} s") from error

    async def _await_listings(self) -> None:
        try:
            async with timeout(LISTING_TIMEOUT):
                await self._followers.settled()
        except TimeoutError:
            late = ", ".join(self._followers.late)
            log.warning(
                "starting without %s: not listed yet",
                late,
                extra=journal_fields(MessageId.READY_WITHOUT),
            )

    async def _reload(self) -> None:
        """Read the configuration again and apply it; raise ``ConfigError`` and change nothing."""
        async with self._configuring:
            self._publisher.enter("reloading")
            self._notifier.reloading("Reloading the configuration")
            try:
                await self._configure(self._load())
            except ConfigError as error:
                text = "configuration refused, the present one stays in force: %s"
                log.error(text, error, extra=journal_fields(MessageId.CONFIG_REFUSED))  # noqa: TRY400
                self._configuration = self._configuration.refused(str(error))
                raise
            finally:
                if not self._ending:
                    self._serve()

    def _serve(self) -> None:
        """Report that the agent serves as configured."""
        self._publisher.enter("")
        self._notifier.ready(self._status.text())

    async def _configure(self, loaded: Loaded) -> None:
        log_warnings(loaded)
        config = loaded.config
        self._http.change(config)  # first, because it may refuse
        if config.log_level != self._config.log_level:
            self._output.level = level_word(config.log_level)
        self._config = config
        self._grace.seconds = config.restart_grace
        self._controller.change(config)
        await self._followers.change(config)
        self._configuration = ConfigurationStatus.in_force(loaded.settings)
        await self._await_listings()
        log.info("configuration reloaded", extra=journal_fields(MessageId.RELOADED))


def _bus(config: Config, server: Server) -> ReconnectingBus:
    return ReconnectingBus(_bus_address(config), server.dispatch, droppable=server.only_returns)


def _bus_address(config: Config) -> str:
    try:
        return address(config.scope)
    except ConfigError as error:
        raise NoBus(str(error)) from error


def log_warnings(loaded: Loaded) -> None:
    """Log what was found in the configuration files and does not stop the agent."""
    for warning in loaded.warnings:
        log.warning("%s", warning)


async def _never_returns(work: Coroutine[Any, Any, None]) -> None:
    """Await a coroutine without an end: its return is a bug, and ends the agent."""
    await work
    raise RuntimeError(f"{work} ended")
