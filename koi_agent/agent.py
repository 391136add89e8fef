"""Puts the agent together, starts it in order, and ends it in order.

Every task of the agent lives in the one TaskGroup here; one that ends without having been
told to is a bug, and ends the agent for systemd to start it again.
"""

import asyncio
import errno
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Never

from koi_agent import __version__
from koi_agent.announce.controller import Controller
from koi_agent.backends import BACKENDS
from koi_agent.bus.address import address
from koi_agent.bus.client import ReconnectingBus
from koi_agent.bus.server import Server
from koi_agent.config import Config, Loaded
from koi_agent.core.contracts import Backend, EventSink
from koi_agent.core.errors import ConfigError, KoiError, ungrouped
from koi_agent.core.events import Change
from koi_agent.core.message_ids import MessageId, journal_fields, level_word
from koi_agent.core.plan.linger import RestartGrace
from koi_agent.core.registry import Registry
from koi_agent.follow.followers import Followers
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.logs import LogOutput
from koi_agent.host.notify import Notifier, extending
from koi_agent.host.sockets import NoSocket
from koi_agent.host.watchdog import Watchdog, interval
from koi_agent.publishers.dbus.manager import ManagerActions
from koi_agent.publishers.dbus.publisher import DBusPublisher, NameRefused, NameTaken
from koi_agent.publishers.http.agent_status import AgentStatus
from koi_agent.publishers.http.service import HTTPService
from koi_agent.publishers.http.sockets import HTTPSockets
from koi_agent.publishers.journal import JournalPublisher
from koi_agent.publishers.status import StatusPublisher

log = logging.getLogger(__name__)

BUS_PATIENCE = 10.0
"""Seconds a start waits for the bus, and then for it to give us our name."""
COLLECTOR = 20_000, 10, 50
"""When Python looks for garbage in cycles (``gc.set_threshold``): rarely through everything.

With 10 000 instances such a look takes 0.15 s, in which nobody is answered; what is tracked has
no cycles, and what has come to stay by the start is not looked at again.
"""
LISTING_PATIENCE = 10.0
"""Seconds a start, or a reload, waits for backends to have listed once."""
EXTENSION = 10.0
"""Seconds asked of systemd at a time while a start or an end is slow for a good reason."""

Load = Callable[[], Loaded]


class NoBus(KoiError):
    """There was no bus to start on."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What systemd is told of an agent that ends by itself: exit code, errno, D-Bus error."""

    code: int
    errno: int = 0
    bus_error: str = ""


BUS_ERROR = "org.freedesktop.DBus.Error."
ENDINGS: dict[type[Exception], Ending] = {
    NameTaken: Ending(os.EX_TEMPFAIL, bus_error=BUS_ERROR + "AddressInUse"),
    NameRefused: Ending(os.EX_NOPERM, bus_error=BUS_ERROR + "AccessDenied"),
    NoBus: Ending(os.EX_UNAVAILABLE, bus_error=BUS_ERROR + "NoServer"),
    NoSocket: Ending(os.EX_TEMPFAIL, errno=errno.EADDRINUSE),
    ConfigError: Ending(os.EX_CONFIG, errno=errno.EINVAL),
}
"""What ends an agent by itself, and how (sysexits.h)."""


class Agent:
    """All parts of one agent; ``load`` reads its configuration anew. Raises ``NoBus``."""

    def __init__(
        self,
        load: Load,
        config: Config,
        sockets: HTTPSockets,
        notifier: Notifier,
        output: LogOutput,
    ) -> None:
        self.hung_up = asyncio.Event()
        self._load = load
        self._config = config
        self._notifier = notifier
        self._output = output
        self._registry = Registry(config.backends)
        self._status = StatusPublisher(self._registry, notifier)
        self._grace = RestartGrace(config.restart_grace, time.monotonic)
        self._announcing = Controller(config, self._grace, self._apply)
        wishes = ManagerActions(self._resync, self._reload, self._announcing.decisions)
        self._publisher = DBusPublisher(self._registry, __version__, wishes, output)
        self._http = HTTPService(sockets, self._registry, self._grace, self._http_status)
        self._server = Server(self._publisher.tree)
        self._bus = ReconnectingBus(_bus_address(config), self._server.dispatch)
        self._census = ListenerTable()
        self._followers = Followers(config, self._registry, self._apply, self._backend)
        self._sinks: Sequence[EventSink] = (
            JournalPublisher(),
            self._grace,
            self._publisher,
            self._http,
            self._status,
            self._announcing,
        )
        self._configuring = asyncio.Lock()
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    def _http_status(self) -> AgentStatus:
        """Return the state of the agent for the HTTP pages."""
        checker = self._announcing.checker
        return AgentStatus(
            version=__version__,
            state=self._publisher.state,
            waiting={"dbus": self._publisher.waiting},
            dropped={"dbus": self._publisher.dropped},
            checks=checker.status,
            checked=checker.counts,
        )

    def _backend(self, name: str, config: Config) -> Backend:
        return BACKENDS[name](self._bus, config, self._census)

    def _apply(self, change: Change) -> None:
        events = self._registry.apply(change, time.time_ns() // 1000)
        if events:
            for sink in self._sinks:
                sink.publish(events)

    async def _resync(self, backend: str) -> Mapping[str, Mapping[str, str]]:
        return await self._followers.resync(backend)

    async def run(self) -> Never:
        """Run until cancelled; raises what ``ENDINGS`` has, in a group."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_endless(self._bus.run()), name="bus")
            group.create_task(_endless(self._server.run()), name="server")
            try:
                with extending(self._notifier, by=EXTENSION):
                    await self._start(group)
                await self._live(group)
            finally:
                with extending(self._notifier, by=EXTENSION):
                    await self._end()
        raise AssertionError("the agent's tasks have no end")

    async def _start(self, group: asyncio.TaskGroup) -> None:
        """Follow, list, publish, accept: whoever asks first is answered with data."""
        await self._await_bus(self._bus.connection())
        self._own(group, "follow", self._followers.run())
        await self._await_listings()
        self._own(group, "publish on D-Bus", self._publisher.run(self._bus))
        await self._await_bus(self._publisher.named.wait())
        self._own(group, "serve HTTP", self._http.run())
        self._own(group, "announce", self._announcing.run())
        gc.freeze()
        log.info("ready: %s", self._status.text(), extra=journal_fields(MessageId.READY))
        self._serve()

    async def _live(self, group: asyncio.TaskGroup) -> Never:
        watchdog = Watchdog(self._notifier, interval(os.environ), self._stuck)
        group.create_task(watchdog.run(), name="watchdog")
        while True:
            await self.hung_up.wait()
            self.hung_up.clear()
            with suppress(ConfigError):  # which is logged, and there is nobody else to tell
                await self._reload()

    async def _end(self) -> None:
        """Answer who waits for an answer, tell the bus that we go, and go."""
        self._ending = True
        self._notifier.stopping("Stopping")
        self._publisher.enter("stopping")
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.wait([task])

    def _own(self, group: asyncio.TaskGroup, name: str, work: Coroutine[Any, Any, Never]) -> None:
        """Begin what is to be ended in order, while the bus is still there."""
        self._tasks.append(group.create_task(_endless(work), name=name))

    def _stuck(self) -> str:
        """Say what a watchdog should not let pass: our own bugs, and no runtime's silence."""
        return self._registry.contradiction() or self._followers.overdue()

    async def _await_bus(self, answer: Coroutine[Any, Any, object]) -> None:
        try:
            async with asyncio.timeout(BUS_PATIENCE):
                await answer
        except TimeoutError as error:
            raise NoBus(f"no bus at {self._bus.address} within {BUS_PATIENCE:.0f} s") from error

    async def _await_listings(self) -> None:
        try:
            async with asyncio.timeout(LISTING_PATIENCE):
                await self._followers.settled()
        except TimeoutError:
            late = ", ".join(self._followers.late)
            log.warning(
                "going on without %s: no list yet",
                late,
                extra=journal_fields(MessageId.READY_WITHOUT),
            )

    async def _reload(self) -> None:
        """Read the configuration anew and follow it; raises ``ConfigError``, all as it was."""
        async with self._configuring:
            self._publisher.enter("reloading")
            self._notifier.reloading("Reloading the configuration")
            try:
                await self._configure(self._load())
            except ConfigError as error:
                text = "configuration refused, the one before is kept: %s"
                log.error(text, error, extra=journal_fields(MessageId.CONFIG_REFUSED))  # noqa: TRY400
                raise
            finally:
                if not self._ending:
                    self._serve()

    def _serve(self) -> None:
        """Say that all is as configured."""
        self._publisher.enter("")
        self._notifier.ready(self._status.text())

    async def _configure(self, loaded: Loaded) -> None:
        _warn(loaded)
        config = loaded.config
        self._http.change(config)  # the one that can refuse
        if config.log_level != self._config.log_level:
            self._output.level = level_word(config.log_level)
        self._config = config
        self._grace.seconds = config.restart_grace
        self._announcing.change(config)
        await self._followers.change(config)
        await self._await_listings()
        log.info("configuration reloaded", extra=journal_fields(MessageId.RELOADED))


def _bus_address(config: Config) -> str:
    try:
        return address(config.scope)
    except ConfigError as error:
        raise NoBus(str(error)) from error


def _warn(loaded: Loaded) -> None:
    for warning in loaded.warnings:
        log.warning("%s", warning)


async def _endless(work: Coroutine[Any, Any, None]) -> None:
    """Do what has no end: that it ends is a bug, and ends the agent."""
    await work
    raise RuntimeError(f"{work} ended")


async def serve(load: Load, config: Config, output: LogOutput) -> int:
    """Run an agent until SIGTERM or SIGINT; returns its exit code."""
    by_hand = "NOTIFY_SOCKET" not in os.environ
    notifier = Notifier(os.environ)
    try:
        with closing(HTTPSockets(config, os.environ, by_hand=by_hand)) as sockets:
            await _run(Agent(load, config, sockets, notifier, output))
    except asyncio.CancelledError:
        log.info("stopped")
    except tuple(ENDINGS) as trouble:
        log.error("%s", trouble)  # noqa: TRY400 - the operator's trouble, no bug of ours
        ending = next(ending for kind, ending in ENDINGS.items() if isinstance(trouble, kind))
        notifier.failed(str(trouble), errno=ending.errno, bus_error=ending.bus_error)
        return ending.code
    finally:
        notifier.close()
    return 0


async def _run(agent: Agent) -> Never:
    """Run an agent; raises what stopped it by itself."""
    loop, running = asyncio.get_running_loop(), asyncio.current_task()
    loop.add_signal_handler(signal.SIGHUP, agent.hung_up.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        if running:
            loop.add_signal_handler(number, running.cancel)
    with ungrouped(*ENDINGS):
        await agent.run()
    raise AssertionError("an agent has no end")


def run(load: Load, loaded: Loaded) -> int:
    """Run an agent in the foreground; returns its exit code."""
    gc.set_threshold(*COLLECTOR)
    with LogOutput(loaded.config.log_level, "auto", os.environ) as output:
        _warn(loaded)
        return asyncio.run(serve(load, loaded.config, output))
