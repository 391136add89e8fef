"""A small service: an ObjectManager's root, and as many items below it as a test wants."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from koi_agent.bus.client import Connection, ReconnectingBus
from koi_agent.bus.interfaces import (
    Call,
    Emits,
    ErrorReply,
    Interface,
    Method,
    Property,
    SignalType,
    interface,
)
from koi_agent.bus.object_manager import ObjectManager
from koi_agent.bus.server import DEFAULT_LIMITS, Limits, Server
from koi_agent.bus.standard_interfaces import Objects
from koi_agent.bus.variants import Variant

NAME = "org.example.Root1"
ROOT = "/org/example/Root1"
ITEMS = f"{ROOT}/item"
MANAGER, ITEM = "org.example.Root1.Manager", "org.example.Root1.Item"
ACTION = "org.example.Root1.guarded"


PORT = {
    "host_port": Variant("q", 80),
    "container_port": Variant("q", 8080),
    "protocol": Variant("s", "tcp"),
    "host_ip": Variant("s", "0.0.0.0"),
}


@dataclass
class Item:
    name: str
    state: str = "running"
    tags: dict[str, str] = field(default_factory=lambda: {"a": "b"})


ITEM_INTERFACE = interface(
    ITEM,
    Property("Name", "s", Emits.CONST, lambda item: item.name),
    Property("State", "s", Emits.TRUE, lambda item: item.state),
    Property("Tags", "a{ss}", Emits.INVALIDATES, lambda item: item.tags),
    Property("Seen", "t", Emits.FALSE, lambda item: len(item.name)),
    Property("Image", "s", Emits.TRUE, lambda item: f"registry.example/{item.name}:latest"),
    Property("PID", "u", Emits.TRUE, lambda item: len(item.name)),
    Property("Invocation", "ay", Emits.TRUE, lambda _item: bytes(16)),
    Property("Addresses", "as", Emits.TRUE, lambda _item: ["192.0.2.1", "2001:db8::1"]),
    Property("Ports", "aa{sv}", Emits.TRUE, lambda _item: [dict(PORT), dict(PORT)]),
)


class Tree:
    """The objects, by path; ``open`` lets the slow calls end."""

    def __init__(self, count: int = 3) -> None:
        self.items = {path_of(number): Item(f"item{number}") for number in range(count)}
        self.managed = ObjectManager(ROOT, self.interfaces)
        self.open = asyncio.Event()
        self.calls: list[Call] = []
        self.changes = 0
        self.root = interface(
            MANAGER,
            Method(
                name="Echo",
                handle=lambda _call, text, value: (text, value),
                takes=(("text", "s"), ("value", "v")),
                returns=(("same_text", "s"), ("same_value", "v")),
            ),
            Method(name="Find", handle=self._find, takes=(("by", "a{sv}"),), returns=PATHS),
            Method(name="Slow", handle=self._slow, returns=(("text", "s"),)),
            Method(name="Bug", handle=self._bug),
            Method(name="LateBug", handle=self._late_bug),
            Method(name="WrongAnswer", handle=lambda _call: (7,), returns=(("text", "s"),)),
            Method(name="Refuse", handle=self._refuse, takes=(("why", "s"),)),
            Method(name="Guarded", handle=self._guarded, action=ACTION, returns=DONE, acts=True),
            Method(name="SlowChange", handle=self._slow_change, returns=DONE, acts=True),
            Method(name="Busy", handle=self._busy),
            Property("Version", "s", Emits.CONST, lambda _tree: "1"),
            Property("Count", "u", Emits.TRUE, lambda tree: len(tree.items)),
            SignalType("Started", (("id", "s"), ("path", "o"))),
        )

    def interfaces(self, path: str) -> Sequence[tuple[Interface, Any]]:
        if path == ROOT:
            return ((self.root, self),)
        item = self.items.get(path)
        return ((ITEM_INTERFACE, item),) if item else ()

    def children(self, path: str) -> Iterable[str] | None:
        if path == ITEMS:
            return [item.rpartition("/")[2] for item in self.items]
        whole = [*ITEMS.split("/")[1:]]
        above = [part for part in path.split("/") if part]
        return (
            [whole[len(above)]]
            if above == whole[: len(above)] and len(above) < len(whole)
            else None
        )

    def managed_paths(self) -> Sequence[str]:
        return list(self.items)

    def _find(self, _call: Call, by: dict[str, Variant]) -> Sequence[Any]:
        if set(by) - {"name"}:
            raise ErrorReply("org.freedesktop.DBus.Error.InvalidArgs", "unknown key")
        return ([path for path, item in self.items.items() if item.name == by["name"].value],)

    async def _slow(self, call: Call) -> Sequence[str]:
        self.calls.append(call)
        await self.open.wait()
        return ("done",)

    def _bug(self, _call: Call) -> Sequence[Any]:
        raise RuntimeError("a bug in /secret/place.py")

    async def _late_bug(self, call: Call) -> Sequence[Any]:
        await asyncio.sleep(0)
        return self._bug(call)

    def _refuse(self, _call: Call, why: str) -> Sequence[Any]:
        raise ErrorReply("org.example.Root1.Refused", why)

    def _guarded(self, call: Call) -> Sequence[bool]:
        self.calls.append(call)
        return (True,)

    async def _slow_change(self, call: Call) -> Sequence[bool]:
        self.calls.append(call)
        await self.open.wait()
        self.changes += 1
        return (True,)

    def _busy(self, call: Call) -> Sequence[Any]:
        """Use some time, as a long reply does."""
        self.calls.append(call)
        time.sleep(0.005)
        return ()


PATHS, DONE = (("paths", "ao"),), (("done", "b"),)


def path_of(number: int) -> str:
    return f"{ITEMS}/i{number}"


@asynccontextmanager
async def served(
    address: str, tree: Objects, *, name: str = NAME, limits: Limits = DEFAULT_LIMITS
) -> AsyncIterator[Connection]:
    """Serve objects under a name."""
    async with serving(address, Server(tree, limits), name=name) as link:
        yield link


@asynccontextmanager
async def serving(address: str, server: Server, *, name: str = NAME) -> AsyncIterator[Connection]:
    """Run a server on a bus under a name."""
    bus = ReconnectingBus(address, server.dispatch, droppable=server.only_returns)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(server.run()), group.create_task(bus.run())]
        try:
            link = await bus.connection()
            assert await link.request_name(name)
            yield link
        finally:
            for task in tasks:
                task.cancel()


async def busctl(address: str, *arguments: str) -> tuple[int, str]:
    """Run busctl; returns its exit status and all that it wrote."""
    process = await asyncio.create_subprocess_exec(
        "busctl",
        f"--address={address}",
        "--no-pager",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()
