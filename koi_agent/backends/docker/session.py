"""One connection to one engine: hears its events, asks what is to be asked, and keeps time."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Final, Literal, Never

from koi_agent.backends.docker.api import API, SLICE, Engine, Refused, Vanished
from koi_agent.backends.docker.containers import Container, inspected, listed
from koi_agent.backends.docker.events import event
from koi_agent.backends.docker.inspect_queue import InspectQueue
from koi_agent.backends.docker.listeners import HostPorts, docker_group
from koi_agent.backends.docker.memory import Memory
from koi_agent.backends.docker.tracker import Tracker
from koi_agent.core.backoff import pauses
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendLost, BadInput, ungrouped
from koi_agent.core.events import Listing
from koi_agent.core.instance import Instance, InstanceState
from koi_agent.host.cgroups import exists
from koi_agent.host.listeners import ListenerTable

log = logging.getLogger(__name__)

RETRY: Final = 5.0
"""Seconds until one that could not be inspected is asked after again."""
WORKERS: Final = 8
"""Containers asked after at one time."""
MOST_WAITING: Final = 20_000
"""Event lines that wait to be read; when there are more, a list tells the truth instead."""
TURN: Final = 32
"""Events read before others get their turn."""
SHORT: Final = 1.0
"""Seconds below which an event stream that ends is not opened again at once."""
HEAD_START: Final = 0.2
"""Seconds from a doubt to the list."""
FRESH: Final = 1.0
"""Seconds in which a list may still lag behind the engine's own event."""
MOST_COMPLAINTS: Final = 100
"""Kinds of bad records that are logged over one connection."""
FIRST_POLL, LONGEST_POLL = 0.1, 5.0
"""Seconds between lists while an engine has no events to tell."""


class Session:
    """Follows one engine until it is gone."""

    def __init__(
        self, api: API, engine: Engine, memory: Memory, deliver: Deliver, census: ListenerTable
    ) -> None:
        self._api = api
        self._engine = engine
        self._memory = memory
        self._ports = HostPorts(census, self._tell_again)
        self._inquiries = InspectQueue()
        self._tracker = Tracker(engine.backend, memory.known, deliver, self._inquiries, self._ports)
        self._waiting: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._has_listed = asyncio.Event()
        self._doubts: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        self._unreadable: set[str] = set()
        self._owed: set[str] = set()

    def _tell_again(self, id_: str) -> None:
        self._tracker.again(id_)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Keep this session's tasks; raises ``BackendLost`` as soon as the engine is."""
        with ungrouped(BackendLost):
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(work, name=f"{self._engine.backend}: {name}")
                    for name, work in self._works()
                ]
                try:
                    await asyncio.sleep(0)  # they begin, and ask for events, before a list is asked
                    yield
                finally:
                    self._inquiries.close()
                    self._tracker.close()
                    for task in tasks:
                        task.cancel()

    def _works(self) -> Iterator[tuple[str, Coroutine[None, None, Never]]]:
        yield "events", self._listen()
        yield "changes", self._read()
        yield "listeners", self._ports.run()
        for number in range(WORKERS):
            yield f"worker {number}", self._inspect()

    async def doubt(self) -> str:
        """Wait until only a list can tell the truth; returns why.

        An event stream that is opened again is given the time to be open before the list.
        """
        why = await self._doubts.get()
        await asyncio.sleep(HEAD_START)
        return why

    async def run(self) -> Never:
        """Wait; what ends the session is raised where its tasks are."""
        await asyncio.Event().wait()
        raise AssertionError("a session ends by losing its backend")

    # Events

    async def _listen(self) -> Never:
        """Hear events for ever; an engine that ends the stream, as Podman may, is asked again."""
        rests = pauses(FIRST_POLL, LONGEST_POLL)
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            why = await self._listen_once()
            if clock() - began > SHORT:
                rests = pauses(FIRST_POLL, LONGEST_POLL)
            else:
                await asyncio.sleep(next(rests))
            self._have_doubts(why)

    async def _listen_once(self) -> str:
        """Hear events until there are no more; returns why. Raises ``BackendLost``."""
        try:
            async with aclosing(self._api.events(self._memory.since())) as stream:
                async for lines in stream:
                    self._queue(lines)
        except Refused as refused:
            log.debug("%s: %s", self._engine.backend, refused)
            return f"it has no events to tell (HTTP status {refused.status})"
        except BackendLost:
            # Podman's service ends whenever it likes, and starts again for who asks.
            if self._engine.backend != "podman":
                raise
            await self._api.engine()
        return "the event stream ended"

    def _queue(self, lines: Sequence[bytes]) -> None:
        """Take lines off the wire at once: engines drop who reads slowly, and don't say so."""
        self._waiting.extend(lines)
        self._arrived.set()
        if len(self._waiting) > MOST_WAITING:
            self._waiting.clear()
            self._doubt_all(f"more than {MOST_WAITING} events at once")

    async def _read(self) -> Never:
        """Make changes of events, from the first list on: before it there is nothing to change."""
        await self._has_listed.wait()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                for _ in range(min(TURN, len(self._waiting))):
                    self._take(self._waiting.popleft())
                await asyncio.sleep(0)

    def _take(self, line: bytes) -> None:
        try:
            heard = event(line)
        except BadInput as bad:
            self._complain("an event", bad)
            self._doubt_all("an event could not be read")
            return
        if heard and self._memory.is_new(heard):
            self._tracker.take(heard, asyncio.get_running_loop().time())

    def _doubt_all(self, why: str) -> None:
        """Have each container inspected after the next list: a list tells nothing of a new run."""
        self._owed.update(self._memory.known)
        self._have_doubts(why)

    def _have_doubts(self, why: str) -> None:
        if self._doubts.empty():
            self._doubts.put_nowait(why)

    def _complain(self, what: str, trouble: BadInput) -> None:
        """Log what one record has wrong, once for each kind of it."""
        text = f"{what}: {trouble}"
        if text not in self._unreadable and len(self._unreadable) < MOST_COMPLAINTS:
            self._unreadable.add(text)
            log.warning("%s: left out %s", self._engine.backend, text)

    # Inspection

    async def _inspect(self) -> Never:
        while True:
            id_ = await self._inquiries.take()
            said = await self._ask(id_)
            if not self._inquiries.answered(id_):
                continue
            if said is False:
                self._owed.add(id_)
                self._tracker.unanswered(id_)
            else:
                self._owed.discard(id_)
                self._tracker.answered(id_, said, asyncio.get_running_loop().time())

    async def _ask(self, id_: str) -> Container | Literal[False] | None:
        """Inspect a container; None is that it is gone, False that nothing is to be learnt.

        An engine may hang at one container and be fine else: that costs this one alone. Were
        it lost altogether, events and lists would say so.
        """
        try:
            record = await self._api.container(self._engine.backend, id_)
            container = inspected(record, self._engine.backend)
        except Vanished:
            return None
        except BadInput as bad:
            self._complain(f"container {id_:.12}", bad)
            return False
        except BackendLost as lost:
            self._inquiries.put_after(RETRY, id_)
            log.debug("%s: container %.12s: %s", self._engine.backend, id_, lost)
            return False
        return self._located(container)

    def _located(self, container: Container) -> Container:
        """Find the control group, which Docker does not tell and Podman may not rightly."""
        said = container.inspected
        if said is None:
            return container
        group = said.control_group if exists(said.control_group) else ""
        if self._engine.backend == "docker":
            group = docker_group(container.id, said.cgroup_parent, self._engine.cgroup_driver)
        return replace(container, inspected=replace(said, control_group=group))

    # Lists

    async def list(self) -> Listing:
        """List what runs; raises ``BackendLost``."""
        spoken, fresh = self._tracker.spoken, asyncio.get_running_loop().time() - FRESH
        for id_ in [id_ for id_, at in spoken.items() if at < fresh]:
            del spoken[id_]
        found: dict[str, Container] = {}
        async for records in self._api.containers(self._engine.backend):
            for record in records:
                self._note(record, found)
        self._tracker.not_listed(found.keys())
        containers = list(found.values())
        for start in range(0, len(containers), SLICE):
            self._tracker.listed(containers[start : start + SLICE])
            await asyncio.sleep(0)
        await self._ports.look()
        self._wish_for_more(found)
        ids = list(self._memory.known)
        instances: list[Instance] = []
        for start in range(0, len(ids), SLICE):
            instances += self._tracker.instances(ids[start : start + SLICE])
            await asyncio.sleep(0)
        self._has_listed.set()
        return Listing(
            backend=self._engine.backend,
            instances=instances,
            endpoint=self._api.path,
            runtime_version=self._engine.version,
            touched=frozenset(spoken),
        )

    def _note(self, record: object, found: dict[str, Container]) -> None:
        known = self._memory.known
        try:
            id_ = record.get("Id") if isinstance(record, dict) else None
            container = listed(record, self._engine.backend, known.get(str(id_)))
        except BadInput as bad:
            self._complain("a listed container", bad)
            return
        if container.state is InstanceState.STOPPED:
            return
        found[container.id] = container
        before = known.get(container.id)
        if before and before.state is not container.state:
            self._owed.add(container.id)  # no event told: the rest has changed as well

    def _wish_for_more(self, found: Mapping[str, Container]) -> None:
        """Inspect what never was, or not rightly, and at first all: much may have changed.

        A list is not believed on what events spoke of lately; an inspection is. Nor does a list
        tell the health of what is paused.
        """
        spoken = self._tracker.spoken.keys() & (found.keys() | self._memory.known.keys())
        wished = spoken | (self._owed & found.keys())
        for id_, container in found.items():
            untold = container.inspected is None or container.state is InstanceState.PAUSED
            if untold or not self._has_listed.is_set():
                wished.add(id_)
        self._owed.clear()
        for id_ in wished:
            self._inquiries.put(id_, urgent=False)
