"""Puts the agent together, starts it in order, and ends it in order.

Every task of the agent lives in the one TaskGroup here; one that ends without having been
told to is a bug, and ends the agent for systemd to start it again.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Never

from koi_agent import __version__
from koi_agent.backends.systemd import Systemd
from koi_agent.bus.client import Bus, address
from koi_agent.bus.server import Server
from koi_agent.config import Config
from koi_agent.core.changes import Change
from koi_agent.core.contracts import Backend, EventSink
from koi_agent.core.errors import KoiError
from koi_agent.core.registry import Registry
from koi_agent.follow import Follower
from koi_agent.publishers.dbus.publisher import DBusPublisher, NameRefused, NameTaken
from koi_agent.publishers.journal import JournalPublisher

log = logging.getLogger(__name__)

BUS_PATIENCE = 10.0
"""Seconds a start waits for the bus."""
LISTING_PATIENCE = 10.0
"""Seconds a start waits for backends to have listed once."""


class NoBus(KoiError):
    """There was no bus to start on."""


EXIT_CODES: dict[type[Exception], int] = {
    NameTaken: os.EX_TEMPFAIL,
    NameRefused: os.EX_NOPERM,
    NoBus: os.EX_UNAVAILABLE,
}
"""What ends an agent by itself, and its exit code (sysexits.h)."""


class Agent:
    """All parts of one agent."""

    def __init__(self, config: Config) -> None:
        self._registry = Registry(config.backends)
        self._publisher = DBusPublisher(self._registry, __version__, self._resync)
        self._server = Server(self._publisher.tree)
        self._bus = Bus(address(config.scope), self._server.dispatch)
        self._sinks: Sequence[EventSink] = (JournalPublisher(), self._publisher)
        self._followers = {
            name: Follower(
                self._backend(name, config),
                self._apply,
                self._registry.differences,
                interval=config.resync_interval,
            )
            for name in config.backends
        }

    def _backend(self, name: str, config: Config) -> Backend:
        return {"systemd": lambda: Systemd(self._bus, config.systemd)}[name]()

    def _apply(self, change: Change) -> None:
        events = self._registry.apply(change, time.time_ns() // 1000)
        if events:
            for sink in self._sinks:
                sink.publish(events)

    async def _resync(self, backend: str) -> Mapping[str, Mapping[str, str]]:
        followers = self._followers.values()
        return {f.name: await f.resync() for f in followers if backend in ("", f.name)}

    async def run(self) -> Never:
        """Run until cancelled; raises what ``EXIT_CODES`` has, in a group."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_endless(self._bus.run()), name="bus")
            group.create_task(_endless(self._server.run()), name="server")
            await self._await_bus()
            tasks = [
                group.create_task(_endless(follower.run()), name=f"follow {follower.name}")
                for follower in self._followers.values()
            ]
            try:
                await self._await_listings()
                publishing = _endless(self._publisher.run(self._bus))
                tasks.append(group.create_task(publishing, name="publish on D-Bus"))
                await self._publisher.named.wait()
                self._publisher.begin()
                log.info("ready: %d instances", len(self._registry.visible))
                await asyncio.Event().wait()
            finally:
                self._publisher.end()
                await _ended(tasks)
        raise AssertionError("the agent's tasks have no end")

    async def _await_bus(self) -> None:
        try:
            async with asyncio.timeout(BUS_PATIENCE):
                await self._bus.link()
        except TimeoutError as error:
            raise NoBus(f"no bus at {self._bus.address} within {BUS_PATIENCE:.0f} s") from error

    async def _await_listings(self) -> None:
        try:
            async with asyncio.timeout(LISTING_PATIENCE):
                for follower in self._followers.values():
                    await follower.settled.wait()
        except TimeoutError:
            late = [f.name for f in self._followers.values() if not f.settled.is_set()]
            log.warning("starting without %s: no list yet", ", ".join(late))


async def _endless(work: Coroutine[Any, Any, None]) -> None:
    """Do what has no end: that it ends is a bug, and ends the agent."""
    await work
    raise RuntimeError(f"{work} ended")


async def _ended(tasks: Collection[asyncio.Task[None]]) -> None:
    """End tasks while the bus is still there."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def serve(config: Config) -> int:
    """Run an agent until SIGTERM or SIGINT; returns its exit code."""
    running = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        if running:
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        await _run(config)
    except asyncio.CancelledError:
        log.info("stopped")
    except tuple(EXIT_CODES) as trouble:
        log.error("%s", trouble)  # noqa: TRY400 - the operator's trouble, no bug of ours
        return EXIT_CODES[type(trouble)]
    return 0


async def _run(config: Config) -> Never:
    """Run an agent; raises what stopped it by itself."""
    try:
        await Agent(config).run()
    except* tuple(EXIT_CODES) as troubles:
        raise troubles.exceptions[0] from None
    raise AssertionError("an agent has no end")


def run(config: Config) -> int:
    """Run an agent in the foreground; returns its exit code."""
    return asyncio.run(serve(config))
