"""One connection to one systemd manager: has asked what is to be asked, and keeps time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Never

from koi_agent.backends.systemd.freezer import SIGNALS_FREEZER, Freezer
from koi_agent.backends.systemd.manager import Manager
from koi_agent.backends.systemd.reconciler import Reconciler
from koi_agent.backends.systemd.tracker import Tracker
from koi_agent.backends.systemd.units import BACKEND, Unit
from koi_agent.bus.client import Connection
from koi_agent.bus.signals import Signal
from koi_agent.config import SystemdConfig
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendLost, ungrouped
from koi_agent.core.events import Listing
from koi_agent.host.listeners import ListenerTable

log = logging.getLogger(__name__)

RETURN = 10.0
"""Seconds systemd may be away from the bus, as when it executes itself again."""
WORKERS = 8
"""Units asked after at one time."""


class Session:
    """Follows one manager until it, or the bus, is gone."""

    def __init__(
        self, link: Connection, config: SystemdConfig, deliver: Deliver, census: ListenerTable
    ) -> None:
        self.queries = Manager(link)
        self.version = ""
        self._link = link
        self._jobs: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._doubt: asyncio.Queue[str] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._away: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False
        self.tracker = Tracker(config, deliver, self._ask, self._wake, self._take)
        self._lister = Reconciler(config, self.queries, self.tracker, census)

    async def open(self) -> None:
        """Have signals sent, and learn which systemd this is; raises ``BackendLost``."""
        await self.queries.subscribe()
        self.version = await self.queries.version()
        major = "".join(self.version.partition(".")[0].split("~")[0].split("-")[0].split())
        if major.isdigit() and int(major) < SIGNALS_FREEZER:
            self._watch_freezer()

    def _watch_freezer(self) -> None:
        try:
            freezer = Freezer(self.tracker.freezes)
        except OSError as error:
            log.warning("units that freeze won't be seen to: inotify: %s", error)
            return
        self.tracker.freezer = freezer
        asyncio.get_running_loop().add_reader(freezer.inotify.fileno(), freezer.read)

    def close(self) -> None:
        """Stop all that this session has going; a list under way has no more effect."""
        self._closed = True
        for timer in (self._away, self._alarm):
            if timer:
                timer.cancel()
        if freezer := self.tracker.freezer:
            asyncio.get_running_loop().remove_reader(freezer.inotify.fileno())
        self.tracker.close()

    async def doubt(self) -> str:
        """Wait until only a list can tell the truth; returns why."""
        return await self._doubt.get()

    async def run(self) -> Never:
        """Ask what is to be asked; raises ``BackendLost`` at the end."""
        with ungrouped(BackendLost):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._end_with_bus(), name="systemd: bus")
                group.create_task(self._end_with_systemd(), name="systemd: name")
                for number in range(WORKERS):
                    group.create_task(self._work(), name=f"systemd: worker {number}")
        raise AssertionError("a session ends by losing its backend")

    async def _end_with_bus(self) -> None:
        raise BackendLost(f"bus: {await self._link.wait_closed()}")

    async def _end_with_systemd(self) -> None:
        await self._gone.wait()
        raise BackendLost("systemd left the bus")

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            await job()

    def _take(self, signal: Signal) -> None:
        """Act on the manager's word about itself."""
        match signal.member, signal.body:
            case "Reloading", [active]:
                self.tracker.reloading = bool(active)
                if not active:
                    self._reread("systemd has reloaded")
            case "NameOwnerChanged", [_, _, owner]:
                self._move(str(owner))
            case _:
                log.debug("signal %s is not for us", signal.member)

    def _reread(self, reason: str) -> None:
        self.tracker.files.reloaded()
        self.tracker.sockets.reloaded()
        if self._doubt.empty():
            self._doubt.put_nowait(reason)

    def _move(self, owner: str) -> None:
        """Follow systemd when it leaves the bus and comes back."""
        if self._away:
            self._away.cancel()
        self.tracker.reloading = not owner
        if owner:
            self._jobs.put_nowait(self._subscribe_again)
        else:
            self._away = asyncio.get_running_loop().call_later(RETURN, self._gone.set)

    async def _subscribe_again(self) -> None:
        await self.queries.subscribe()
        self._reread("systemd is back on the bus")

    def _ask(self, unit: Unit) -> None:
        asked = self._ask_socket if unit.name.endswith(".socket") else self._ask_unit
        self._jobs.put_nowait(partial(asked, unit))

    async def _ask_unit(self, unit: Unit) -> None:
        self.tracker.answered(unit, await self.tracker.files.ask(self.queries, unit))

    async def _ask_socket(self, unit: Unit) -> None:
        await self._lister.open_socket(unit.name, unit.path)

    def _wake(self, seconds: float) -> None:
        """Have ``_tick`` called in time; the earliest wish counts."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        if self._alarm and self._alarm.when() <= loop.time() + seconds:
            return
        if self._alarm:
            self._alarm.cancel()
        self._alarm = loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._alarm = None
        loop = asyncio.get_running_loop()
        wishes = [self.tracker.settle()]
        if self.tracker.loaded and self.tracker.verify_at <= loop.time():
            self._jobs.put_nowait(self._verify)
        elif self.tracker.loaded:
            wishes.append(self.tracker.verify_at - loop.time())
        due = self.tracker.schedule.due()
        if due is not None and due <= loop.time():
            self.tracker.schedule.taken(loop.time())
            self._jobs.put_nowait(self._lister.look)
            due = self.tracker.schedule.due()
        wishes.append(due - loop.time() if due is not None else None)
        for wish in wishes:
            if wish is not None:
                self._wake(max(wish, 0.001))

    async def _verify(self) -> None:
        await self._lister.verify()

    async def list(self) -> Listing:
        """List what runs; raises ``BackendLost``."""
        instances, in_doubt = await self._lister.list()
        return Listing(
            backend=BACKEND,
            instances=instances,
            endpoint=self._link.address,
            runtime_version=self.version,
            touched=frozenset(in_doubt),
        )
