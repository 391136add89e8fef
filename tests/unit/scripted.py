"""A backend that follows the script of a test, and its follower."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Never

from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendLost
from koi_agent.core.events import Change, Event, Gone, Listing, Lost, Seen
from koi_agent.core.instance import Instance
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from tests.unit.things import Reader, gone, listing
from tests.unit.virtual_time import now

Step = Callable[[], Awaitable[None]]


class Runtime:
    """A scripted backend.

    ``truth`` are the running instances. ``plan`` has the steps of the next "open", "list" and
    "close". ``requests`` records each of these with its virtual time.
    """

    name = "systemd"

    def __init__(self, *running: Instance) -> None:
        self.truth = {instance.id: instance for instance in running}
        self.plan: dict[str, deque[Step]] = defaultdict(deque)
        self.requests: list[tuple[str, float]] = []
        self.doubts: asyncio.Queue[str] = asyncio.Queue()
        self.end: asyncio.Future[None] = asyncio.Future()
        self.arrived = asyncio.Event()
        self._deliver: Deliver | None = None

    async def step(self, name: str) -> None:
        self.requests.append((name, now()))
        if self.plan[name]:
            await self.plan[name].popleft()()

    def times(self, name: str) -> list[float]:
        """Return the times of all requests of one name."""
        return [at for request, at in self.requests if request == name]

    def send(self, event: Seen | Gone) -> None:
        """Send an event, if a session is open."""
        if self._deliver:
            self._deliver(event)

    def starts(self, instance: Instance) -> None:
        """Start or change an instance, and send the event."""
        self.truth[instance.id] = instance
        self.send(Seen(instance))

    def stops(self, instance: Instance) -> None:
        """Stop an instance, and send the event."""
        del self.truth[instance.id]
        self.send(gone(instance))

    def lose(self, reason: str = "closed") -> None:
        """End the open session with ``BackendLost``."""
        self.fail(BackendLost(reason))

    def fail(self, error: Exception) -> None:
        """End the open session with an error."""
        self.end.set_exception(error)

    @asynccontextmanager
    async def session(self, deliver: Deliver) -> AsyncIterator["Scripted"]:
        self._deliver, self.end = deliver, asyncio.Future()
        try:
            await self.step("open")
            yield Scripted(self)
        finally:
            self._deliver = None
            await self.step("close")

    async def arrival(self) -> None:
        await self.arrived.wait()


class Scripted:
    """A session with a ``Runtime``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def list(self) -> Listing:
        answer = list(self._runtime.truth.values())
        await self._runtime.step("list")
        return listing(self._runtime.name, *answer)

    async def doubt(self) -> str:
        return await self._runtime.doubts.get()

    async def run(self) -> Never:
        await self._runtime.end
        raise AssertionError("a session ends with an error")


class Following:
    """A follower of a backend, its registry, and all changes and events.

    ``on_change`` is called with each change after it was applied.
    """

    def __init__(self, runtime: Runtime, interval: float) -> None:
        self.registry = Registry({runtime.name: runtime.name})
        self.changes: list[Change] = []
        self.events: list[Event] = []
        self.on_change: Callable[[Change], None] = lambda _change: None
        self.reader = Reader()
        self.follower = Follower(runtime, self._apply, self.registry.differences, interval=interval)

    def _apply(self, change: Change) -> None:
        self.changes.append(change)
        events = self.registry.apply(change, int(now() * 1e6))
        self.reader.read(events)
        self.events += events
        self.on_change(change)

    @property
    def ids(self) -> set[str]:
        return {instance.id for instance in self.registry.visible.values()}

    @property
    def drift(self) -> int:
        return self.registry.backends["systemd"].drift

    @property
    def losses(self) -> list[str]:
        return [change.reason for change in self.changes if isinstance(change, Lost)]


@asynccontextmanager
async def following(
    runtime: Runtime, *, interval: float = 1e9, settled: bool = True
) -> AsyncIterator[Following]:
    """Follow a backend until the block is left."""
    engine = Following(runtime, interval)
    task = asyncio.create_task(engine.follower.run())  # noqa: TID251 - ended below
    try:
        if settled:
            await engine.follower.settled.wait()
        yield engine
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def after(seconds: float, then: Callable[[], None] = lambda: None) -> Step:
    """Return a step that takes some seconds and then calls a function."""

    async def step() -> None:
        await asyncio.sleep(seconds)
        then()

    return step


def at_once(do: Callable[[], None]) -> Step:
    """Return a step that only calls a function."""
    return after(0, do)


def failing(error: Exception) -> Step:
    """Return a step that raises an error."""

    async def step() -> None:
        raise error

    return step


async def never() -> None:
    """Wait forever."""
    await asyncio.Event().wait()
