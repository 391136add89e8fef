"""The agent under test as its users see it: a process in the world, and a client of its bus."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.errors import BusLost
from koi_agent.bus.signals import Changed, Signal, Subscription
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT
from tests.costs import resident
from tests.world import World

TARGET: Final = (NAME, ROOT, MANAGER)
SLEEP: Final = "[Service]\nExecStart=/bin/sleep 1000\n"
EVENTS: Final = ("InstanceStarted", "InstanceUpdated", "InstanceStopped")
ACTIVE: Final = ("active", "activating", "deactivating", "reloading", "refreshing")


class Surroundings(Protocol):
    """The place where an agent runs: a world, or another one with a bus."""

    @property
    def bus_address(self) -> str:
        """The agent's bus, for a client outside."""

    def spawn(self, *argv: str | Path, **popen: Any) -> subprocess.Popen[str]:
        """Start a program there."""


@dataclass
class Agent:
    """A running agent; ``log`` returns its standard error."""

    process: subprocess.Popen[str]
    log_file: Path
    code: int = 0

    async def kill(self) -> None:
        """Kill the agent."""
        self.code = -signal.SIGKILL
        self.process.kill()
        await asyncio.to_thread(self.process.wait, 60)

    def log(self) -> str:
        return self.log_file.read_text()

    def resident(self) -> int:
        """Return the agent's resident memory in bytes."""
        return resident(Path(f"/proc/{self.process.pid}/status").read_text())


@asynccontextmanager
async def agent(world: Surroundings, folder: Path, *arguments: str) -> AsyncIterator[Agent]:
    """Run an agent in the world while the block runs; it must exit with 0."""
    log_file = folder / "agent.log"
    with log_file.open("w") as log:
        process = world.spawn(
            sys.executable, "-m", "koi_agent", "run", "--user", *arguments, stderr=log
        )
        running = Agent(process, log_file)
        try:
            await eventually(lambda: answers(world), "the agent answers")
            yield running
        finally:
            process.terminate()
            code = await asyncio.to_thread(process.wait, 60)
    text = running.log()
    assert code == running.code, text
    assert "Traceback" not in text, text


async def eventually(true: Callable[[], Any], what: str, *, seconds: float = 60.0) -> Any:
    """Return the first true result of a function, which may return an awaitable.

    An instance that the function asks for and that the agent does not know yet is waited for, and
    so is an answer that does not come in time.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            answer = true()
            if asyncio.iscoroutine(answer):
                answer = await answer
        except CallError as error:
            if error.name != f"{NAME}.NoSuchInstance":
                raise
            answer = None  # not the coroutine that failed
        except (BusLost, TimeoutError):
            answer = None
        if answer:
            return answer
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"waited {seconds:g} s for: {what}")
        await asyncio.sleep(0.05)


async def answers(world: Surroundings) -> bool:
    try:
        async with connected(world.bus_address) as link:
            return str(await link.get(NAME, ROOT, MANAGER, "State")) in ("running", "degraded")
    except (BusLost, CallError, TimeoutError):
        return False


async def call(world: Surroundings, member: str, signature: str = "", *body: Any) -> list[Any]:
    """Call a method of the agent's Manager."""
    async with connected(world.bus_address) as link:
        return await link.call(TARGET, member, signature, body)


async def published(world: Surroundings) -> dict[str, str]:
    """Return the state of each published instance, by id."""
    (rows,) = await call(world, "ListInstances")
    return {row[0]: row[3] for row in rows}


async def instance(world: Surroundings, unit: str) -> dict[str, Any]:
    """Return all properties of one instance."""
    async with connected(world.bus_address) as link:
        (path,) = await link.call(TARGET, "GetInstance", "s", (unit,))
        target = (NAME, path, "org.freedesktop.DBus.Properties")
        (values,) = await link.call(target, "GetAll", "s", (f"{NAME}.Instance",))
    return dict(values)


async def drift(world: World) -> int:
    async with connected(world.bus_address) as link:
        return int(await link.get(NAME, f"{ROOT}/backend/systemd", f"{NAME}.Backend", "Drift"))


async def truth(world: World) -> set[str]:
    """Return the manager's services that count as instances, by its own list."""
    arguments = ("list-units", "--type=service", "--all", "--output=json")
    listed = json.loads((await on_manager(world, *arguments)).stdout)
    return {row["unit"] for row in listed if row["active"] in ACTIVE and row["sub"] != "exited"}


async def on_manager(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(world.systemctl, *arguments)


async def running(world: World, count: int) -> list[str]:
    """Start a number of services and return their names."""
    names = [f"steady-{number}.service" for number in range(count)]
    for name in names:
        world.unit(name, SLEEP)
    await on_manager(world, "start", *names)
    return names


async def settle(world: World, *, seconds: float = 60.0) -> set[str]:
    """Wait until the published instances are the running services, twice in a row."""

    async def agrees() -> bool:
        for _ in range(2):
            before = await truth(world)
            if set(await published(world)) != before or await truth(world) != before:
                return False
            await asyncio.sleep(0.2)
        return True

    try:
        await eventually(agrees, "the agent publishes the running services", seconds=seconds)
    except AssertionError as error:
        told, real = set(await published(world)), await truth(world)
        raise AssertionError(f"missing {real - told}, too many {told - real}") from error
    return await truth(world)


@dataclass
class Observer:
    """A client that lists once and then follows signals; ``known`` is its view."""

    known: set[str] = field(default_factory=set)
    events: list[tuple[str, str]] = field(default_factory=list)
    unbalanced: list[tuple[str, str]] = field(default_factory=list)

    def take(self, items: Sequence[Signal | Changed]) -> None:
        for item in items:
            if isinstance(item, Signal) and item.member in EVENTS:
                self._note(item.member, str(item.body[0]))

    def _note(self, member: str, id_: str) -> None:
        self.events.append((member, id_))
        if (member == "InstanceStarted") is (id_ in self.known):
            self.unbalanced.append((member, id_))
        if member == "InstanceStarted":
            self.known.add(id_)
        elif member == "InstanceStopped":
            self.known.discard(id_)

    def count(self, member: str, id_: str) -> int:
        return self.events.count((member, id_))


@asynccontextmanager
async def observer(world: Surroundings) -> AsyncIterator[Observer]:
    """Follow the agent as a client does: subscribe, then list."""
    seen = Observer()
    async with connected(world.bus_address) as link, subscribed(link, seen):
        (rows,) = await link.call(TARGET, "ListInstances")
        seen.known |= {row[0] for row in rows}
        yield seen


@asynccontextmanager
async def subscribed(link: Connection, seen: Observer) -> AsyncIterator[None]:
    wanted = Subscription(
        sender=NAME,
        rules=(f"type='signal',sender='{NAME}',interface='{MANAGER}'",),
        members=frozenset((MANAGER, member) for member in EVENTS),
        deliver=seen.take,
    )
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(link.subscribed(wanted))
        yield
